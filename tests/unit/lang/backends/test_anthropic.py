"""Features that only Anthropic's API has."""

from __future__ import annotations

import base64

import pytest

import workbench as sgl
from workbench.errors import BackendFailed

pytestmark = pytest.mark.parametrize("place", ["anthropic"], indirect=True)


def run(place, body):
    return sgl.function(body).run(backend=place.backend)


def test_a_text_before_the_generation_is_continued_and_its_last_space_is_not_doubled(place):
    place.server.answer = lambda prompt: "  42 apples"
    state = run(place, lambda s: s.__iadd__(sgl.user("How many?") + sgl.assistant("There are \n" + sgl.gen("x") + "!")))
    assert place.asked == [("user", "How many?"), ("assistant", "There are")]
    assert state["x"] == "42 apples"
    assert state.messages()[-1]["content"] == "There are \n42 apples!"


def test_without_a_last_space_the_models_own_stays(place):
    place.server.answer = lambda prompt: " 42"
    assert run(place, lambda s: s.__iadd__(sgl.user("?") + sgl.assistant("There are" + sgl.gen("x"))))["x"] == " 42"


def test_a_stop_string_is_named_when_it_ended_the_text(place):
    place.server.answer = lambda prompt: "one END two"
    state = run(place, lambda s: s.__iadd__("a" + sgl.gen("x", stop=["END"])))
    assert state.get_meta_info("x")["finish_reason"] == {"type": "stop", "matched": "END"}
    assert place.body["stop_sequences"] == ["END"]


def test_a_stop_string_of_white_space_is_found_here(place):
    place.server.answer = lambda prompt: "one\ntwo END"
    state = run(place, lambda s: s.__iadd__("a" + sgl.gen("x", stop=["END", "\n"])))
    assert state["x"] == "one"
    assert place.body["stop_sequences"] == ["END"]


def test_the_length_limit_is_always_sent(place):
    run(place, lambda s: s.__iadd__("a" + sgl.gen("x")))
    assert place.body["max_tokens"] == 4096


def test_a_later_system_message_stays_where_it_is(place):
    run(place, lambda s: s.__iadd__(sgl.system("A") + sgl.user("b") + sgl.system("C") + sgl.assistant(sgl.gen("x"))))
    assert place.body["system"] == "A"
    assert [message["role"] for message in place.body["messages"]] == ["user", "system"]


def test_a_schema_and_top_k_are_sent(place):
    schema = {"type": "object", "properties": {}, "additionalProperties": False, "required": []}
    run(place, lambda s: s.__iadd__("a" + sgl.gen("x", json_schema=schema, top_k=5)))
    assert place.body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert place.body["top_k"] == 5


@pytest.mark.parametrize("source", [b"\x89PNG!", "https://example.org/a.png"])
def test_pictures_are_blocks(place, source):
    run(place, lambda s: s.__iadd__(sgl.user("see" + sgl.image(source)) + sgl.assistant(sgl.gen("x"))))
    block = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"\x89PNG!").decode()}
    if isinstance(source, str):
        block = {"type": "url", "url": source}
    assert place.body["messages"][0]["content"] == [{"type": "text", "text": "see"}, {"type": "image", "source": block}]


def test_tools_have_an_input_schema(place):
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    run(place, lambda s: s.__iadd__("a" + sgl.gen("x", tools=[{"name": "w", "parameters": parameters}, {"name": "now"}])))
    assert [tool["input_schema"] for tool in place.body["tools"]] == [parameters, {"type": "object", "properties": {}}]


def test_an_error_inside_the_stream_is_an_error(place):
    place.server.stream_error = ("overloaded_error", "Overloaded")
    state = sgl.function(lambda s: s.__iadd__("a " + sgl.gen("x"))).run(backend=place.backend, stream=True)
    with pytest.raises(BackendFailed, match="Overloaded"):
        state["x"]


def test_a_missing_key_is_an_error_that_says_where_it_comes_from(place, monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BackendFailed) as caught:
        sgl.function(lambda s: s.__iadd__("a" + sgl.gen("x"))).run(backend=sgl.Anthropic("claude-sonnet-5", base_url=place.url))
    assert "ANTHROPIC_API_KEY" in caught.value.hint
    assert place.server.requests == []
