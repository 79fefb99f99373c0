"""Ollama's own client against a server process of the real model."""

from __future__ import annotations

import json

import jsonschema
import ollama
import pytest

HELLO = [{"role": "user", "content": "Say hello in French."}]
GREEDY = {"temperature": 0, "num_predict": 12}
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["age"]}


@pytest.fixture(scope="module")
def client(real_server):
    return ollama.Client(host=real_server.url)


def test_a_streamed_chat_is_the_whole_chat(client):
    whole = client.chat(model="smollm2", messages=HELLO, options=GREEDY)
    parts = list(client.chat(model="smollm2", messages=HELLO, options=GREEDY, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert (whole.eval_count, parts[-1].eval_count, whole.done_reason) == (12, 12, "length")
    assert whole.total_duration >= whole.eval_duration > 0


def test_a_format_is_followed(client):
    answer = client.chat(model="m", messages=HELLO, options={"temperature": 0, "num_predict": 60}, format=SCHEMA)
    jsonschema.validate(json.loads(answer.message.content), SCHEMA)


def test_a_format_is_followed_without_a_template_too(client):
    raw = client.generate(model="m", prompt="A JSON: ", raw=True, options={"temperature": 0, "num_predict": 60}, format=SCHEMA)
    jsonschema.validate(json.loads(raw.response), SCHEMA)


def test_a_prompt_is_answered_in_the_template_or_continued_as_it_is(client):
    in_template = client.generate(model="m", prompt=HELLO[0]["content"], options=GREEDY)
    assert in_template.response == client.chat(model="m", messages=HELLO, options=GREEDY).message.content
    raw = client.generate(model="m", prompt="The capital of France is", raw=True, options={"temperature": 0, "num_predict": 2})
    assert raw.response == " Paris."
    parts = client.generate(model="m", prompt="The capital of France is", raw=True, options=GREEDY, stream=True)
    assert "".join(part.response for part in parts).startswith(" Paris.")


def test_a_model_of_text_has_no_embeddings(client):
    for call in (lambda: client.embed(model="m", input="a"), lambda: client.embeddings(model="m", prompt="a")):
        with pytest.raises(ollama.ResponseError, match="makes text, no embeddings"):
            call()


def test_the_model_is_listed_and_shown(client):
    assert [model.model for model in client.list().models] == ["smollm2-135m"]
    assert client.show("any").modelinfo["llamaforcausallm.context_length"] == 8192
    assert client.ps().models[0].model == "smollm2-135m"


def test_a_wrong_request_is_refused_with_its_reason(client):
    picture = {"role": "user", "content": "x", "images": ["aGk="]}
    for wrong in ({"format": {"type": "nothing"}}, {"messages": [picture]}, {"options": {"top_p": 7}}):
        with pytest.raises(ollama.ResponseError) as caught:
            client.chat(**{"model": "m", "messages": HELLO, "stream": False} | wrong)
        assert caught.value.status_code == 400
