"""Replays an engine's log through the fold of a view, and keeps what the view draws and answers at chosen moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from workbench.errors import InvalidRequest
from workbench.events import Event, StepExecuted
from workbench.views.fold import Fold
from workbench.views.live.reader import Reader
from workbench.views.recorded.track import Track
from workbench.views.throughput.charts import charts_of
from workbench.views.throughput.fold import ThroughputFold

MAX_ANSWERS = 400
"""Answers that one view has at a time."""
SHARED = ("requests", "newest", "empty")
"""Parts of a state that do not depend on which of the `choices` is shown."""


@dataclass(frozen=True)
class Moment:
    """The engine after some of the log's events."""

    num_events: int
    seconds: float
    """Seconds since the first event."""
    step: int
    """Number of the last step; 0 before the first."""


def moments_of(events: Sequence[Event], most: int) -> list[Moment]:
    """Returns the moments after the steps of a log and after its last event: all, or `most` of them at even distances."""
    if not events:
        return [Moment(0, 0.0, 0)]
    start, step = events[0].time, 0
    found = []
    for i, event in enumerate(events):
        if isinstance(event, StepExecuted):
            step = event.step
            found.append(Moment(i + 1, event.time - start, step))
    if not found or found[-1].num_events < len(events):
        found.append(Moment(len(events), events[-1].time - start, step))
    if len(found) <= most:
        return found
    return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]


def replay(reader: Reader[Any], events: Sequence[Event], moments: Sequence[Moment]) -> dict[str, Any]:
    """Folds all events with a fresh reader. Returns the view over the moments, as `play.js` reads it."""
    tracks = Tracks()
    done = 0
    for number, moment in enumerate(moments):
        reader.apply(events[done : moment.num_events])
        done = moment.num_events
        tracks.take(number, reader.fold)
    steps = [moment.step for moment in moments]
    return {
        "sees": reader.fold.sees,
        "note": reader.failure or reader.fold.note,
        **tracks.to_dict(),
        **charts(reader.fold, steps),
    }


class Tracks:
    """The states, choices and answers of one view over the moments."""

    def __init__(self) -> None:
        self._states = Track()
        self._choices: dict[str, Track] = {}
        self._answers: dict[str, Track] = {}
        self._marks: dict[str, Any] = {}
        """Marks of the choices and questions as they were looked at last."""

    def to_dict(self) -> dict[str, Any]:
        choices, answers = ({name: track.changes for name, track in each.items()} for each in (self._choices, self._answers))
        return {"states": self._states.changes, "choices": choices, "answers": answers}

    def take(self, moment: int, fold: Fold[Any]) -> None:
        """Adds the view as it is at the next moment."""
        state, choices = plain(fold), dict(fold.choices())
        if choices:
            self._choose(moment, str(state["rid"]), state)
            for rid in self._changed(choices):
                self._look_at(moment, fold, rid)
            state = {name: state[name] for name in SHARED if name in state} | {"shown": state["rid"]}
        self._states.put(moment, state)
        self._ask(moment, fold)

    def _choose(self, moment: int, rid: str, state: Mapping[str, Any]) -> None:
        own = {name: value for name, value in state.items() if name not in SHARED}
        self._choices.setdefault(rid, Track()).put(moment, own)

    def _look_at(self, moment: int, fold: Any, rid: str) -> None:
        before = fold.rid
        fold.show(rid)
        self._choose(moment, rid, plain(fold))
        fold.show(before)

    def _ask(self, moment: int, fold: Fold[Any]) -> None:
        asked = {name_of(message): (message, mark) for message, mark in islice(fold.questions(), MAX_ANSWERS)}
        for name in self._changed({name: mark for name, (_, mark) in asked.items()}):
            self._answers.setdefault(name, Track()).put(moment, answer(fold, asked[name][0]))
        for name in self._answers.keys() - asked.keys():
            self._answers[name].put(moment, {"error": f"this is not there at this moment: {name.replace('=', ' ')}"})
            self._marks.pop(name, None)

    def _changed(self, marks: Mapping[str, Any]) -> list[str]:
        changed = [name for name, mark in marks.items() if name not in self._marks or self._marks[name] != mark]
        self._marks.update(marks)
        return changed


def plain(fold: Fold[Any]) -> dict[str, Any]:
    """Returns the state of a fold as plain JSON, which no later event changes."""
    state = fold.state() | ({"empty": fold.empty} if fold.empty else {})
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(state))
    return found


def answer(fold: Fold[Any], message: Mapping[str, Any]) -> Any:
    """Returns the answer to a page's message as plain JSON."""
    try:
        found = fold.detail(message)
    except InvalidRequest as error:
        found = {"error": str(error)}
    return msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(found)))


def name_of(message: Mapping[str, Any]) -> str:
    """Returns the name under which a page finds the answer to a message: `id=r1,3&why=7`. `play.js` makes the same."""
    words = (f"{key}={_word(value)}" for key, value in sorted(message.items()))
    return "&".join(words)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def charts(fold: Fold[Any], steps: Iterable[int]) -> dict[str, Any]:
    """Returns the charts of the whole run, and the place of each of these steps on their axis, from 0 to 1 or None."""
    if not isinstance(fold, ThroughputFold) or len(t := (series := fold.series())["t"]) < 2:
        return {}
    found = [fold.place_of(step) if step else None for step in steps]
    places = [None if place is None else min(max((place - t[0]) / (t[-1] - t[0]), 0.0), 1.0) for place in found]
    return {"charts": "".join(charts_of(series, fold.facts.num_pages)), "places": places}
