"""`FunctionCallParser` and its detectors, as programs of the reference use them."""

from __future__ import annotations

import json

import pytest

from workbench.errors import InvalidRequest
from workbench.srt.function_call_parser import (
    TOOLS_TAG_LIST,
    BaseFormatDetector,
    FunctionCallParser,
    MultiFormatParser,
    StreamingParseResult,
    ToolCallItem,
)
from workbench.srt.managers.io_struct import Function, Tool

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [Tool(type="function", function=Function(name=name, description="", parameters=SCHEMA)) for name in ("time", "weather")]
TEXTS = {
    "llama3": '<|python_tag|>{"name": "weather", "parameters": {"city": "Rome"}}',
    "mistral": 'Yes. [TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rome"}}]',
    "qwen25": 'Yes. <tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>',
    "hermes": '<tool_call>{"arguments": {"city": "Rome"}, "name": "weather"}</tool_call>',
    "pythonic": '[weather(city="Rome")]',
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_whole_text_has_a_normal_text_and_calls_with_parameters(name: str) -> None:
    normal, calls = FunctionCallParser(tools=TOOLS, tool_call_parser=name).parse_non_stream(TEXTS[name])
    assert [(call.name, json.loads(call.parameters), call.tool_index) for call in calls] == [("weather", {"city": "Rome"}, 1)]
    assert normal == ("Yes." if TEXTS[name].startswith("Yes") else "")


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_stream_adds_up_to_the_same(name: str, size: int) -> None:
    parser = FunctionCallParser(tools=[{"type": "function", "function": {"name": "weather"}}], tool_call_parser=name)
    text, names, parameters = "", [], ""
    pieces = [TEXTS[name][at : at + size] for at in range(0, len(TEXTS[name]), size)]
    for normal, calls in [*(parser.parse_stream_chunk(piece) for piece in pieces), parser.finish()]:
        text += normal
        names += [call.name for call in calls if call.name]
        parameters += "".join(call.parameters for call in calls)
    assert (text, names, json.loads(parameters)) == ("Yes." if "Yes" in TEXTS[name] else "", ["weather"], {"city": "Rome"})


def test_without_a_format_any_is_found() -> None:
    parser = FunctionCallParser(tools=TOOLS)
    for text in TEXTS.values():
        assert [call.name for call in parser.parse_non_stream(text)[1]] == ["weather"]
    assert parser.parse_non_stream("no call") == ("no call", [])
    with pytest.raises(InvalidRequest, match="detectors"):
        parser.parse_stream_chunk("a")


def test_a_new_format_is_a_registered_subclass(monkeypatch) -> None:
    class Shout(BaseFormatDetector):
        def has_tool_call(self, text):
            return text.startswith("CALL ")

        def detect_and_parse(self, text, tools):
            return StreamingParseResult("", [ToolCallItem(0, text.removeprefix("CALL "), "{}")])

    monkeypatch.setitem(MultiFormatParser.DETECTORS, "shout", Shout)
    assert FunctionCallParser(TOOLS, "shout").parse_non_stream("CALL time") == ("", [ToolCallItem(0, "time", "{}")])


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="one of llama3"):
        FunctionCallParser(TOOLS, "other")
    with pytest.raises(InvalidRequest, match="tools"):
        FunctionCallParser([{"type": "function"}], "llama3")
    assert "[TOOL_CALLS]" in TOOLS_TAG_LIST
