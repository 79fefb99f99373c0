"""The programs of an engine as a fold over its log: what each has written so far, and which request writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from workbench.errors import InvalidRequest
from workbench.events import Event, ProgramStarted, RequestLinked
from workbench.html.escape import visible
from workbench.html.parts import View
from workbench.views.fold import Facts, Fold, Handlers
from workbench.views.program.picture import OF_ENGINES, OF_PROGRAMS, SEES, NoProgram, ProgramView
from workbench.views.program.state import Part, ProgramRun

MAX_PROGRAMS = 16
"""Runs that are kept; the oldest goes first."""
MAX_PARTS, MAX_TEXT = 2000, 4000
"""Parts of a program that are drawn, and characters of each."""
SHOWN = ("number", "kind", "name", "detail", "place", "rid", "requests", "title", "facts", "is_done", "replayed", "num_prompt",
         "num_cached", "num_requests", "samples", "scores")  # fmt: skip


class ProgramFold(Fold[View]):
    """Shows the newest run, or the one whose id is `program`."""

    keeps_history = True
    sees = SEES

    def __init__(self, facts: Facts | None = None, program: str | None = None) -> None:
        super().__init__(facts)
        self.runs: dict[str, ProgramRun] = {}
        """Runs by id, the newest last."""
        self._wanted = program
        self._by_rid: dict[str, ProgramRun] = {}

    def handlers(self) -> Handlers:
        return {}

    def apply(self, event: Event) -> None:
        run = self._run_of(event)
        if run is not None:
            run.apply(event)
            self.version += 1

    @property
    def shown(self) -> ProgramRun | None:
        if self._wanted is not None:
            return self.runs.get(self._wanted)
        return next(reversed(self.runs.values()), None)

    @property
    def note(self) -> str:
        if self._wanted is None or self._wanted in self.runs:
            return ""
        newest = self.facts.advice.newest.format("program")
        return f"no program is called {visible(self._wanted)}, or it was too long ago\n{newest}"

    @property
    def empty(self) -> str:
        if self.runs or self.note:
            return ""
        return f"No program has run on this engine yet: {self.facts.advice.programs}"

    def picture(self) -> View:
        run = self.shown
        if run is not None:
            return ProgramView.of_run(run)
        return NoProgram(self.note or self.empty)

    def state(self) -> dict[str, Any]:
        run = self.shown
        names = [[key, one.name, one.end is None] for key, one in self.runs.items()]
        return {"programs": names, **(self._drawn(run) if run is not None else {})}

    def detail(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Returns another of the programs, as it is now."""
        run = self.runs.get(str(asked.get("id")))
        if run is None:
            raise InvalidRequest("program", asked.get("id"), f"one of {', '.join(self.runs) or 'none yet'}")
        return self._drawn(run)

    def questions(self) -> Iterator[tuple[dict[str, Any], Any]]:
        for key in [*self.runs][-2::-1]:
            yield {"id": key}, self.version

    # -- which run an event is about ------------------------------------------------------------------------------

    def _run_of(self, event: Event) -> ProgramRun | None:
        if isinstance(event, OF_ENGINES):
            return self._by_rid.get(event.rid)
        if not isinstance(event, OF_PROGRAMS):
            return None
        if isinstance(event, ProgramStarted):
            self._forget()
            self.runs[event.program] = ProgramRun()
        run = self.runs.get(event.program)  # none where the log has lost its beginning
        if run is not None and isinstance(event, RequestLinked):
            self._by_rid[event.rid] = run
        return run

    def _forget(self) -> None:
        while len(self.runs) >= MAX_PROGRAMS:
            gone = self.runs.pop(next(iter(self.runs)))
            for rid in gone.by_rid:
                self._by_rid.pop(rid, None)

    # -- as JSON --------------------------------------------------------------------------------------------------

    def _drawn(self, run: ProgramRun) -> dict[str, Any]:
        view, left = ProgramView.of_run(run), [MAX_PARTS]
        return {
            "program": run.start.program if run.start else "", "title": view.title, "calls": view.calls, "lasted": view.lasted,
            "totals": list(view.totals()), "error": view.error, "parts": self._parts(view.parts, left), "is_whole": left[0] > 0,
        }  # fmt: skip

    def _parts(self, parts: list[Part], left: list[int]) -> list[dict[str, Any]]:
        rows = []
        for part in parts:
            if left[0] <= 0:
                break
            left[0] -= 1
            rows.append(self._row(part, left))
        return rows

    def _row(self, part: Part, left: list[int]) -> dict[str, Any]:
        text = self.facts.decode(part.live_ids) if part.live_ids else part.text
        row = {name: getattr(part, name) for name in SHOWN} | {
            "text": text[:MAX_TEXT],
            "num_left_out": max(0, len(text) - MAX_TEXT),
        }
        if part.timings is not None:
            row["timings"] = asdict(part.timings)
        if part.kind == "fork":
            row["branches"] = [self._parts(branch, left) for branch in part.branches]
        return row
