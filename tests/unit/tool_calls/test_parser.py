"""Tool calls are found whole, and the same however the text is cut into pieces."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import InvalidRequest
from workbench.tool_calls import FORMATS, ArgumentsPiece, CallStarted, Content, ToolCallParser, collect, parse
from workbench.tool_calls.parser import HELD

WEATHER = '{"city": "Zürich </tool_call> <|python_tag|> [TOOL_CALLS]", "days": 3}'
LONG = json.dumps({"path": "a.txt", "text": 'line\n"quoted" }{ ' * 200})
ONE_CALL = {
    "llama3": '<|python_tag|>{"name": "weather", "parameters": %s}',
    "mistral": '[TOOL_CALLS] [{"name": "weather", "arguments": %s}]',
    "qwen25": '<tool_call>\n{"name": "weather", "arguments": %s}\n</tool_call>',
    "hermes": '<tool_call>{"name": "weather", "arguments": %s}</tool_call>',
    "deepseekv3": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n%s\n```"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
}


def pieces_of(name: str, pieces: list[str], tools: set[str] | None = None) -> tuple[str, list[tuple[str, str]], list[object]]:
    """Returns the content and the calls of an output that comes in these pieces, and the events."""
    parser = ToolCallParser(name, tools)
    events = [event for piece in pieces for event in parser.push(piece)] + parser.finish()
    assert [event.index for event in events if isinstance(event, CallStarted)] == list(range(parser.num_calls))
    assert all(event.text for event in events if isinstance(event, Content | ArgumentsPiece))
    content, calls = collect(events)
    return content, [(call.name, call.arguments) for call in calls], events


@pytest.mark.parametrize("name", ONE_CALL)
@pytest.mark.parametrize("arguments", ["{}", WEATHER, LONG], ids=["none", "marks within", "long"])
def test_a_call_is_found_with_the_text_before_it(name, arguments):
    content, calls = parse(name, "I look it up.\n" + ONE_CALL[name] % arguments)
    assert content == "I look it up."
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("weather", json.loads(arguments))]


@pytest.mark.parametrize(
    "name, text, calls",
    [
        ("llama3", '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}', [("f", {"a": 1}), ("g", {})]),
        ("llama3", '{"type": "function", "name": "f", "parameters": "{\\"a\\": 1}"}', [("f", {"a": 1})]),
        ("mistral", '[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]123456789[ARGS]{}', [("f", {"a": 1}), ("g", {})]),
        ("mistral", '[TOOL_CALLS] [{"arguments": {"name": "x"}, "name": "f"}]', [("f", {"name": "x"})]),
        (
            "qwen25",
            '<tool_call>{"name": "f", "arguments": null}\n<tool_call>{"name": "g", "arguments": {}}',
            [("f", {}), ("g", {})],
        ),
        (
            "deepseekv3",
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜>',
            [("f", {"a": 1})],
        ),
        ("pythonic", "[f(a=1, b='x]', c=None), g()]", [("f", {"a": 1, "b": "x]", "c": None}), ("g", {})]),
        ("pythonic", "<|python_start|>[f(a=[True])]<|python_end|>", [("f", {"a": [True]})]),
    ],
)
def test_every_spelling_of_a_format_is_read(name, text, calls):
    content, found = parse(name, text)
    assert not content
    assert [(call.name, json.loads(call.arguments)) for call in found] == calls


@pytest.mark.parametrize(
    "name, text",
    [
        ("llama3", '{"capital": "Paris"}'),
        ("llama3", '{"a": 1} is a dict'),
        ("llama3", '{"name": "unknown", "parameters": {}}'),
        ("pythonic", "[1, 2] is a list"),
        ("pythonic", "[unknown(a=1)]"),
        ("qwen25", "1 < 2 and <tool is no tag"),
        ("mistral", "plain [text]\n"),
    ],
)
def test_text_that_is_no_call_stays_as_it_is(name, text):
    assert parse(name, text, {"weather"}) == (text, [])


@pytest.mark.parametrize("name", ONE_CALL)
def test_a_short_call_that_is_cut_off_is_dropped_and_leaves_no_mark(name):
    whole = ONE_CALL[name] % WEATHER
    for end in range(1, whole.index("days")):
        content, calls = parse(name, "Wait. " + whole[:end])
        assert not calls
        assert content.rstrip() in ("Wait.", "Wait. " + whole[:end])
    assert parse(name, "Wait. " + whole[:60])[0].rstrip() == "Wait."


@pytest.mark.parametrize("name", ["llama3", "mistral", "qwen25", "deepseekv3"])
def test_the_arguments_of_a_long_call_are_sent_as_they_come(name):
    text = (ONE_CALL[name] % LONG).replace('[TOOL_CALLS] [{"name": "weather", "arguments": ', "[TOOL_CALLS]weather[ARGS]")
    text = text.removesuffix("}]") if name == "mistral" else text
    content, calls, events = pieces_of(name, [text[at : at + 50] for at in range(0, len(text), 50)])
    assert (content, calls) == ("", [("weather", LONG)])
    assert len([event for event in events if isinstance(event, ArgumentsPiece)]) > (len(LONG) - HELD) / 50


@given(st.data())
@pytest.mark.parametrize("name", FORMATS)
def test_the_result_does_not_depend_on_the_pieces(name, data):
    call = ONE_CALL.get(name, "[weather(city='x')]")
    whole, cut = (call % WEATHER, (call % LONG)[:1500]) if "%s" in call else (call, call[:12])
    texts = [whole, cut, "Hello \n", "<tool_call>no", "[]", "{", " ", "[TOOL_CALLS]", "<｜tool▁calls▁begin｜>"]
    text = "".join(data.draw(st.lists(st.sampled_from(texts), max_size=4)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    content, calls, _ = pieces_of(name, pieces)
    assert (content, calls) == pieces_of(name, [text])[:2]


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(InvalidRequest, match="llama3"):
        ToolCallParser("llama5")
