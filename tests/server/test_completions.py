"""`/v1/completions`, and chats in templates by name, with OpenAI's own client against server processes."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import httpx
import openai
import pytest

from tests.server.conftest import ServerProcess

PROMPT = "The capital of France is"
FORM = {
    "name": "mine", "system": "<|im_start|>system", "user": "<|im_start|>user", "assistant": "<|im_start|>assistant",
    "sep_style": "CHATML", "sep": "<|im_end|>", "stop_str": ["<|im_end|>", "a"], "system_message": "Answer briefly.",
}  # fmt: skip


@pytest.fixture(scope="module")
def client(real_server):
    return openai.OpenAI(base_url=f"{real_server.url}/v1", api_key="any", max_retries=0)


def complete(client, **more):
    return client.completions.create(**{"model": "m", "prompt": PROMPT, "temperature": 0, "max_tokens": 6} | more)


def test_the_best_of_several_are_the_likeliest(client):
    drawn = {"temperature": 1.3, "seed": 3, "logprobs": 0}
    every = complete(client, n=4, **drawn)
    best = complete(client, n=2, best_of=4, **drawn)

    def mean(choice):
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    ranked = sorted(every.choices, key=mean, reverse=True)
    assert [choice.text for choice in best.choices] == [choice.text for choice in ranked[:2]]
    assert [choice.index for choice in best.choices] == [0, 1]
    assert best.usage.completion_tokens == every.usage.completion_tokens, "all are counted"


def test_a_request_for_no_alternatives_scores_the_tokens(client):
    scores = complete(client, logprobs=0).choices[0].logprobs
    assert len(scores.token_logprobs) == 6
    assert [list(top) for top in scores.top_logprobs] == [[token] for token in scores.tokens]
    assert complete(client, logprobs=None).choices[0].logprobs is None


def test_echoed_ids_score_as_evaluation_tools_ask(client, real_server):
    ids = httpx.post(
        f"{real_server.url}/generate", json={"text": PROMPT, "sampling_params": {"temperature": 0, "max_new_tokens": 1}}
    )
    output = ids.json()["output_ids"]
    first = complete(client, prompt=[504, 3575, 282, 4649, 314], max_tokens=1, echo=True, logprobs=1, seed=1).choices[0]
    context = [504, 3575, 282, 4649, 314, *output]
    scored = complete(client, prompt=[context], max_tokens=1, echo=True, logprobs=1, seed=1).choices[0].logprobs
    assert len(scored.token_logprobs) == len(context) + 1
    is_greedy = [p == max(top.values()) for p, top in zip(scored.token_logprobs[5:-1], scored.top_logprobs[5:-1], strict=True)]
    assert is_greedy == [first.logprobs.token_logprobs[5] == max(first.logprobs.top_logprobs[5].values())]
    assert is_greedy == [True] or output != context[5:]


def test_usage_of_a_stream_comes_when_it_is_asked_for(client):
    options = {"include_usage": True}
    chunks = list(complete(client, stream=True, stream_options=options, prompt=[PROMPT, "One two"], n=2, max_tokens=4))
    assert [bool(chunk.choices) for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].usage.completion_tokens == 16
    assert chunks[-1].usage.prompt_tokens == 5 + 2
    texts = ["".join(c.text for chunk in chunks for c in chunk.choices if c.index == i) for i in range(4)]
    whole = complete(client, prompt=[PROMPT, "One two"], n=2, max_tokens=4)
    assert texts == [choice.text for choice in whole.choices]
    assert isinstance(whole.usage.prompt_tokens_details.cached_tokens, int), "row 15"
    going = list(complete(client, stream=True, stream_options=options | {"continuous_usage_stats": True}))
    assert [chunk.usage.completion_tokens for chunk in going] == sorted(chunk.usage.completion_tokens for chunk in going)
    assert all(chunk.usage for chunk in going)


def test_offsets_and_tokens_of_whole_and_half_characters(client):
    text = "ä \U0001f469\u200d\U0001f680 z"
    scores = complete(client, prompt=text, max_tokens=0, echo=True, logprobs=2).choices[0].logprobs
    assert "\ufffd" not in "".join(scores.tokens)
    for token, at in zip(scores.tokens, scores.text_offset, strict=True):
        assert token.startswith("bytes:") or text[at:].startswith(token)
    assert scores.text_offset == sorted(scores.text_offset)


@pytest.mark.parametrize(
    "body, named",
    [
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 3, "n": 2, "stream": True}, "best_of"),
        ({"logprobs": 10**6}, "logprobs"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [10**7]}, "vocabulary"),
        ({"n": 0}, "n"),
        ({"extra_body": {"prompt_logprobs": 1}}, "prompt_logprobs"),
        ({"extra_body": {"regex": "("}}, "regex"),
    ],
)
def test_a_wrong_field_is_refused(client, body, named):
    with pytest.raises(openai.BadRequestError, match=named):
        complete(client, **body)


def test_a_null_and_a_missing_field_are_alike(client):
    null = dict.fromkeys(("suffix", "best_of", "n", "stop", "seed", "echo", "logprobs", "stream", "stream_options"))
    assert complete(client, extra_body=null).choices[0].text == complete(client).choices[0].text


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_place(real_server, path, stream):
    asked = {"messages": [{"role": "user", "content": "Count."}]} if "chat" in path else {"prompt": PROMPT}
    body = {**asked, "max_tokens": 4000, "ignore_eos": True, "stream": stream, "n": 2}
    with suppress(httpx.ReadTimeout), httpx.stream("POST", f"{real_server.url}{path}", json=body, timeout=0.7) as answer:
        next(answer.iter_lines())
    deadline = time.monotonic() + 60
    while (load := httpx.get(f"{real_server.url}/get_load").json())["num_running"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert load["num_running"] == 0, "row 1"


def test_lines_of_batches_may_leave_out_the_version(real_server):
    for path in ("/completions", "/v1/completions"):
        assert httpx.post(f"{real_server.url}{path}", json={"prompt": "a", "max_tokens": 1}).status_code == 200


def test_a_template_of_a_json_file_is_used_and_ends_answers(tmp_path, smollm2):
    path = tmp_path / "form.json"
    path.write_text(json.dumps(FORM))
    server = ServerProcess("--model-path", "smollm2-135m", "--max-total-tokens", "2000", "--chat-template", str(path))
    try:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
        asked = [{"role": "user", "content": "What is the capital of France?"}]
        text = (
            "<|im_start|>system\nAnswer briefly.<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        chat = client.chat.completions.create(model="m", messages=asked, temperature=0, max_tokens=20)
        plain = client.completions.create(model="m", prompt=text, temperature=0, max_tokens=20, stop="a")
        assert chat.usage.prompt_tokens == plain.usage.prompt_tokens
        assert chat.choices[0].message.content == plain.choices[0].text
        assert "a" not in plain.choices[0].text
        assert chat.choices[0].finish_reason == plain.choices[0].finish_reason == "stop"
    finally:
        server.close()
