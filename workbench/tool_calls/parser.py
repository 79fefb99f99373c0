"""Takes a model's text apart into content and calls. The result does not depend on how the text was cut into pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from workbench.errors import InvalidRequest
from workbench.tool_calls.call_end import CallEnd
from workbench.tool_calls.events import ArgumentsPiece, CallStarted, Content, ToolEvent
from workbench.tool_calls.formats import FORMATS, MORE, Format, Found

HELD = 1024
"""Number of characters up to which a call's arguments are held back until the call is complete.

A short call is sent whole or, cut off, not at all; the arguments of a longer one are sent as they come.
"""


class ToolCallParser:
    """Parses one output. `push` takes its pieces, `finish` ends it; both return the events that became final."""

    def __init__(self, name: str, tools: Collection[str] | None = None) -> None:
        """Starts an output. `name` is a key of `FORMATS`; `tools` are the names of the tools, None if any name counts.

        Raises InvalidRequest for an unknown format.
        """
        if name not in FORMATS:
            raise InvalidRequest("tool_call_parser", name, f"one of {', '.join(FORMATS)}")
        self._format: Format = FORMATS[name]
        self._tools = tools
        self._rest = ""
        self._space = ""
        """White space at the end of the content, which belongs to it unless a call follows."""
        self._may_be_bare = True
        """True until content was found, so that a call without a mark may begin."""
        self._long: CallEnd | None = None
        """The call whose arguments are sent as they come."""
        self._is_after_call = False
        """True from the end of a call to the next text that does not belong to it."""
        self.num_calls = 0
        """The number of calls that were found."""

    def push(self, text: str) -> list[ToolEvent]:
        """Takes the next piece of the output."""
        self._rest += text
        return self._parse(is_end=False)

    def finish(self) -> list[ToolEvent]:
        """Ends the output. A call that was cut off is dropped, text that turned out to be no call is content."""
        events = self._parse(is_end=True)
        if not self.num_calls and self._space:
            events.append(Content(self._space))
        return events

    def _parse(self, is_end: bool) -> list[ToolEvent]:
        events: list[ToolEvent] = []
        while self._rest and self._step(events, is_end):
            pass
        return events

    def _step(self, events: list[ToolEvent], is_end: bool) -> bool:
        """Reads one part of the text; returns False if more of it is needed."""
        if self._long is not None:
            return self._read_long(events, self._long)
        if self._is_after_call:
            return self._close(is_end)
        at = self._call_begins(is_end)
        if at > 0:
            self._content(events, at)
        return at > 0 or (at == 0 and self._read_call(events, is_end))

    def _close(self, is_end: bool) -> bool:
        """Drops a text that follows a call and belongs to it; returns False if more text is needed."""
        self._rest = self._rest.lstrip()
        for word in self._format.closing:
            if self._rest.startswith(word):
                self._rest = self._rest[len(word) :]
                return True
            if word.startswith(self._rest) and not is_end:
                return False
        self._is_after_call = False
        return True

    def _call_begins(self, is_end: bool) -> int:
        """Returns the number of characters before a possible call; -1 if more text is needed to know it."""
        if self._may_be_bare and self._format.bare:
            stripped = self._rest.lstrip()
            if stripped.startswith(self._format.bare):
                return 0
            if not stripped and not is_end:
                return -1
        found = [at for mark in self._format.marks if (at := self._rest.find(mark)) >= 0]
        if found:
            return min(found)
        if is_end:
            return len(self._rest)
        starts = (n for mark in self._format.marks for n in range(1, len(mark)) if self._rest.endswith(mark[:n]))
        return len(self._rest) - max(starts, default=0) or -1

    def _content(self, events: list[ToolEvent], length: int) -> None:
        text, self._rest = self._space + self._rest[:length], self._rest[length:]
        body = text.rstrip()
        self._space = text[len(body) :]
        if body:
            self._may_be_bare = False
            events.append(Content(body))

    def _read_call(self, events: list[ToolEvent], is_end: bool) -> bool:
        head = self._format.head.match(self._rest) if self._format.head else None
        found = self._read_head(events, head) if head else self._format.read(self._rest, self._tools)
        if self._long is not None:
            return True
        if found is None:
            if is_end:
                self._end_inside(events)
            return False
        if not found.calls:
            self._may_be_bare = False
            self._content(events, found.length)
            return True
        for name, arguments in found.calls:
            events += [CallStarted(self.num_calls, name), ArgumentsPiece(self.num_calls, arguments)]
            self.num_calls += 1
        self._rest = self._rest[found.length :]
        self._space, self._is_after_call = "", True
        return True

    def _read_head(self, events: list[ToolEvent], head: re.Match[str]) -> Found | None:
        """Reads a call that begins with this head: whole if it is short, else its arguments as they come."""
        name = next(group for group in head.groups() if group).strip()
        is_bare = bool(self._format.bare) and self._rest.lstrip().startswith(self._format.bare)
        is_known = self._tools is None or name in self._tools or not is_bare
        call = CallEnd(self._format.is_object)
        arguments, num = call.read(self._rest[head.end() :])
        if is_known and len(arguments) > HELD:
            events.append(CallStarted(self.num_calls, name))
            self.num_calls += 1
            self._rest, self._space = self._rest[head.end() :], ""
            self._long = CallEnd(self._format.is_object)
            return MORE
        if not call.is_whole:
            return MORE
        return Found([(name, arguments)] if is_known and _is_object(arguments) else [], head.end() + num)

    def _end_inside(self, events: list[ToolEvent]) -> None:
        """Ends the output within what may be a call: dropped if it began like one, else content."""
        is_marked = any(self._rest.lstrip().startswith(mark) for mark in self._format.marks)
        if not (is_marked or '"name"' in self._rest or self._format.bare == "["):
            self._content(events, len(self._rest))
        self._rest = ""

    def _read_long(self, events: list[ToolEvent], call: CallEnd) -> bool:
        arguments, num = call.read(self._rest)
        self._rest = self._rest[num:]
        if arguments:
            events.append(ArgumentsPiece(self.num_calls - 1, arguments))
        if call.is_whole:
            self._long, self._is_after_call = None, True
        return call.is_whole


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call that was found in a text."""

    name: str
    arguments: str
    """The text of a JSON object."""


def collect(events: Iterable[ToolEvent]) -> tuple[str, list[ParsedCall]]:
    """Returns the content and the calls that all events of an output add up to."""
    content, calls = "", list[list[str]]()
    for event in events:
        match event:
            case Content(text=piece):
                content += piece
            case CallStarted(name=called):
                calls.append([called, ""])
            case ArgumentsPiece(index=index, text=piece):
                calls[index][1] += piece
    return content, [ParsedCall(*call) for call in calls]


def parse(name: str, text: str, tools: Collection[str] | None = None) -> tuple[str, list[ParsedCall]]:
    """Returns the content of a whole output and its calls; arguments and errors as in `ToolCallParser`."""
    parser = ToolCallParser(name, tools)
    return collect([*parser.push(text), *parser.finish()])
