"""The page of the events, from their classes."""

from __future__ import annotations

import typing

import msgspec

from generate.markdown import code, page, summary, table, type_name, words
from workbench.events import AnyEvent, Event, StepMember, Taken, TokenDetail, Waited
from workbench.events import cache as of_cache
from workbench.events import program as of_program
from workbench.events import request as of_request
from workbench.events import step as of_step
from workbench.field_docs import field_docs

ABOUT = """
What happened in an engine, in the past tense and with the reason. Views, `explain`, metrics and recordings read this log and
nothing else. `engine.log.read(since)` returns the number of the first event and the events; the log keeps the last
`event_log_size`.

```python
from workbench.events import RequestFinished

first, events = engine.log.read()
[event.reason for event in events if isinstance(event, RequestFinished)]
```

Every event has `time`: seconds on the engine's own clock. Programs' events have the time of `time.monotonic`.
"""
ROOMS = (("Requests", of_request), ("Steps", of_step), ("The prefix cache", of_cache), ("Programs", of_program))
PARTS = (StepMember, Taken, TokenDetail, Waited)
"""Values inside events."""


def events_page() -> str:
    """Writes a section per event, with a row per field."""
    parts: list[str | list[str]] = [ABOUT]
    for title, room in ROOMS:
        parts.append(f"## {title}")
        for event in typing.get_args(AnyEvent):
            if event.__module__ == room.__name__:
                parts += section(event)
    parts.append("## Values inside events")
    for part in PARTS:
        parts += section(part)
    return page("Events", *parts)


def section(kind: type[msgspec.Struct]) -> typing.Iterator[str | list[str]]:
    """Yields the heading of an event, when it happens, and a table of its fields."""
    yield f"### {kind.__name__}"
    yield summary(kind)
    hints, docs = typing.get_type_hints(kind), {}
    for cls in kind.__mro__[::-1]:
        if cls.__module__.startswith("workbench.events"):
            docs |= field_docs(cls)
    names = [field.name for field in msgspec.structs.fields(kind) if field.name != "time" or not issubclass(kind, Event)]
    if names:
        yield table(
            ("field", "type", "meaning"),
            ((code(name), code(type_name(hints[name])), words(docs[name])) for name in names),
        )
