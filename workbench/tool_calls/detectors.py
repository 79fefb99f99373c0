"""`FunctionCallParser`: tool calls in a model's text, for programs that generate text themselves.

    parser = FunctionCallParser(tools=[Tool(function=Function(name="f", parameters={...}))], tool_call_parser="llama3")
    normal_text, calls = parser.parse_non_stream(text)

A new format is a subclass of `BaseFormatDetector`, registered in `MultiFormatParser.DETECTORS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from workbench.errors import InvalidRequest
from workbench.tool_calls.events import ArgumentsPiece, CallStarted, Content, ToolEvent
from workbench.tool_calls.formats import FORMATS
from workbench.tool_calls.parser import ToolCallParser, parse

TOOLS_TAG_LIST = ["<|plugin|>", "<function=", "<tool_call>", "<|python_tag|>", "[TOOL_CALLS]"]
"""Texts that signal a call of a tool."""


@dataclass
class Function:
    """A function that a model may call. `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: Any = None
    strict: bool = False


@dataclass
class Tool:
    """A tool in OpenAI's shape."""

    type: str = "function"
    function: Function = field(default_factory=lambda: Function(""))

    @classmethod
    def read(cls, tool: Any) -> Tool:
        """Returns a tool that is one already, or a dict in OpenAI's shape. Raises InvalidRequest for anything else."""
        function = tool.get("function", tool) if isinstance(tool, Mapping) else getattr(tool, "function", None)
        name = function.get("name") if isinstance(function, Mapping) else getattr(function, "name", None)
        if not isinstance(name, str) or not name:
            raise InvalidRequest("tools", tool, 'tools like {"type": "function", "function": {"name": "f"}}')
        read = function.get if isinstance(function, Mapping) else lambda key: getattr(function, key, None)
        return cls("function", Function(name, read("description"), read("parameters"), bool(read("strict"))))


@dataclass
class ToolCallItem:
    """A call, or in a stream a piece of one: the name comes first, then pieces of `parameters`."""

    tool_index: int
    """Place of the tool among the tools; in a stream the number of the call."""
    name: str | None = None
    parameters: str = ""
    """Text of a JSON object."""


@dataclass
class StreamingParseResult:
    """The text outside of calls, and the calls."""

    normal_text: str = ""
    calls: list[ToolCallItem] = field(default_factory=list)


class BaseFormatDetector:
    """Finds calls in one format, a key of `FORMATS`. A subclass for another format overrides the three methods."""

    format = ""
    """Name of the format."""

    def __init__(self) -> None:
        self._parser: ToolCallParser | None = None

    def has_tool_call(self, text: str) -> bool:
        """Returns whether a text may hold a call."""
        form = FORMATS[self.format]
        return any(mark in text for mark in form.marks) or bool(form.bare and text.lstrip().startswith(form.bare))

    def detect_and_parse(self, text: str, tools: Sequence[Any]) -> StreamingParseResult:
        """Returns the normal text and the calls of a whole text."""
        names = [Tool.read(tool).function.name for tool in tools]
        content, calls = parse(self.format, text, names)
        places = {name: i for i, name in enumerate(names)}
        return StreamingParseResult(content, [ToolCallItem(places.get(c.name, -1), c.name, c.arguments) for c in calls])

    def parse_streaming_increment(self, new_text: str, tools: Sequence[Any]) -> StreamingParseResult:
        """Returns what the next piece of a text makes final."""
        if self._parser is None:
            self._parser = ToolCallParser(self.format, [Tool.read(tool).function.name for tool in tools])
        return _added(self._parser.push(new_text))

    def finish(self) -> StreamingParseResult:
        """Ends a stream: returns what was held back, and begins a new text."""
        parser, self._parser = self._parser, None
        return StreamingParseResult() if parser is None else _added(parser.finish())


def _added(events: Sequence[ToolEvent]) -> StreamingParseResult:
    result = StreamingParseResult()
    for event in events:
        match event:
            case Content():
                result.normal_text += event.text
            case CallStarted():
                result.calls.append(ToolCallItem(event.index, event.name))
            case ArgumentsPiece():
                result.calls.append(ToolCallItem(event.index, None, event.text))
    return result


class Llama32Detector(BaseFormatDetector):
    """Llama 3.1, 3.2 and 3.3."""

    format = "llama3"


class MistralDetector(BaseFormatDetector):
    """Mistral models."""

    format = "mistral"


class Qwen25Detector(BaseFormatDetector):
    """Qwen 2.5 models."""

    format = "qwen25"


class HermesDetector(BaseFormatDetector):
    """Hermes models."""

    format = "hermes"


class DeepSeekV3Detector(BaseFormatDetector):
    """DeepSeek V3 models."""

    format = "deepseekv3"


class PythonicDetector(BaseFormatDetector):
    """Models that write calls as Python."""

    format = "pythonic"


class MultiFormatParser:
    """Uses several detectors: the first that finds a call in a text counts."""

    DETECTORS: ClassVar[dict[str, type[BaseFormatDetector]]] = {
        detector.format: detector
        for detector in (
            Llama32Detector,
            MistralDetector,
            Qwen25Detector,
            HermesDetector,
            DeepSeekV3Detector,
            PythonicDetector,
        )
    }
    """Detector by the name of its format; new ones are registered here."""

    def __init__(self, detectors: Sequence[BaseFormatDetector] | None = None) -> None:
        self.detectors = [make() for make in self.DETECTORS.values()] if detectors is None else list(detectors)

    def parse_once(self, text: str, tools: Sequence[Any]) -> tuple[str, list[ToolCallItem]]:
        """Returns the normal text and the calls of a whole text."""
        for detector in self.detectors:
            if detector.has_tool_call(text):
                result = detector.detect_and_parse(text, tools)
                if result.calls:
                    return result.normal_text, result.calls
        return text, []

    def parse_streaming_increment(self, new_text: str, tools: Sequence[Any]) -> tuple[str, list[ToolCallItem]]:
        """Returns what the next piece makes final. Raises InvalidRequest with several detectors: a stream has one format."""
        result = self._only().parse_streaming_increment(new_text, tools)
        return result.normal_text, result.calls

    def finish(self) -> tuple[str, list[ToolCallItem]]:
        """Ends a stream: returns what was held back."""
        result = self._only().finish()
        return result.normal_text, result.calls

    def _only(self) -> BaseFormatDetector:
        if len(self.detectors) != 1:
            raise InvalidRequest("detectors", len(self.detectors), "1 in a stream, whose format cannot be found out later")
        return self.detectors[0]


class FunctionCallParser:
    """Finds the calls of tools in a model's text. Generate it with `skip_special_tokens=False`, so that the marks are there."""

    def __init__(self, tools: Sequence[Any], tool_call_parser: str | None = None) -> None:
        """Takes `Tool`s, or dicts in OpenAI's shape, and the name of a format; None for any.

        Raises InvalidRequest for an unknown format.
        """
        known = MultiFormatParser.DETECTORS
        if tool_call_parser is not None and tool_call_parser not in known:
            raise InvalidRequest("tool_call_parser", tool_call_parser, f"one of {', '.join(known)}")
        self.tools = [Tool.read(tool) for tool in tools]
        self.multi_format_parser = MultiFormatParser(None if tool_call_parser is None else [known[tool_call_parser]()])

    def parse_non_stream(self, full_text: str) -> tuple[str, list[ToolCallItem]]:
        """Returns the normal text and the calls of a whole text. Each call has `name` and `parameters`."""
        return self.multi_format_parser.parse_once(full_text, self.tools)

    def parse_stream_chunk(self, chunk_text: str) -> tuple[str, list[ToolCallItem]]:
        """Returns the normal text and the pieces of calls that the next piece of a text makes final."""
        return self.multi_format_parser.parse_streaming_increment(chunk_text, self.tools)

    def finish(self) -> tuple[str, list[ToolCallItem]]:
        """Ends a stream: returns what was held back."""
        return self.multi_format_parser.finish()

    def has_tool_call(self, text: str) -> bool:
        """Returns whether a text may hold a call."""
        return any(detector.has_tool_call(text) for detector in self.multi_format_parser.detectors)
