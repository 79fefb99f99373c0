"""The batch timeline as a still picture: two rows of steps, and under them a waterfall of each request on the same axis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.html.escape import to_html, visible
from workbench.html.parts import View, duration, key, lines, soft, table
from workbench.views.batch.drawn import COLUMNS, Axis, Shown, row_of
from workbench.views.batch.state import DrawnStep, Life, Stretch
from workbench.views.batch.words import (
    REQUEST_HEAD,
    REQUEST_NUMERIC,
    SEES,
    STEP_HEAD,
    STEP_NUMERIC,
    about_step,
    about_stretch,
    request_row,
    says,
    shortened,
    step_row,
)

KEY = {
    "wait": "in the queue", "compile": "its constraint is compiled", "prefill": "a chunk of the prompt", "decode": "decode",
    "paused": "held up: a step was made without it",
}  # fmt: skip
RETRACTED = '<span class="wb-key"><b class="wb-mark">▼</b> retracted</span>'
STEPS_LISTED = 60
QUEUE_HEAD = ("waits", "since", "for")


@dataclass(frozen=True, repr=False)
class BatchPicture(View):
    """The steps, and on the same axis the requests whose life overlaps them."""

    style = Path(__file__).with_name("view.css")
    steps: tuple[DrawnStep, ...]
    shown: Shown
    empty: str = ""
    """While there is nothing to draw: that, and the code that changes it, in one line."""
    others: str = ""
    """Advice to see the requests without room."""

    @property
    def lanes(self) -> tuple[Life, ...]:
        return self.shown.lanes

    @property
    def axis(self) -> Axis:
        return self.shown.axis

    @property
    def now(self) -> float:
        return self.shown.now

    def step(self, number: int) -> DrawnStep | None:
        """Returns the step of this number; None where it is not shown."""
        return next((step for step in self.steps if step.number == number), None)

    def request(self, rid: str) -> Life | None:
        """Returns the request's life; None where it is not shown."""
        return next((life for life in self.lanes if life.rid == rid), None)

    def steps_of(self, rid: str) -> list[DrawnStep]:
        """Returns the steps shown that the request was in."""
        return [step for step in self.steps if rid in step.rids]

    def drawn(self, life: Life) -> list[Stretch]:
        """Returns the stretches of a life that overlap the axis."""
        return [part for part in life.stretches if part.end is None or part.end >= self.axis.start]

    def ends(self, part: Stretch) -> tuple[float, float]:
        """Returns the places where a stretch begins and ends."""
        return self.axis.at(part.start), self.axis.at(self.now if part.end is None else part.end)

    @property
    def waiting(self) -> list[tuple[str, str, str]]:
        return self.shown.waiting

    @property
    def title(self) -> str:
        return self.shown.title([step.number for step in self.steps])

    def to_text(self) -> str:
        rows = [request_row(life, self.now) for life in self.lanes]
        requests = lines(REQUEST_HEAD, rows, numeric=REQUEST_NUMERIC) if rows else ""
        parts = [visible(self.title), visible(self.empty), visible(self.others), requests]
        waiting = [f"{visible(rid)} waits for {visible(why)}" for rid, _, why in self.waiting]
        steps = lines(STEP_HEAD, [step_row(step) for step in self.steps[-12:]], numeric=STEP_NUMERIC) if self.steps else ""
        return "\n\n".join(part for part in (*parts, "\n".join(waiting), steps) if part)

    def body(self) -> str:
        head = f"<p><b>{to_html(self.title)}</b></p>{soft(SEES)}"
        if not self.steps and not self.lanes:
            return head + soft(self.empty)
        lanes = f'<div class="wb-lanes">{"".join(_lane(self, life) for life in self.lanes)}</div>'
        waiting = f'<div class="wb-journal">{table(QUEUE_HEAD, self.waiting, numeric=(1,))}</div>' if self.waiting else ""
        return f"{head}{_key(self)}{_steps(self)}{lanes}{_scale(self)}{soft(self.others)}{waiting}{_listed(self)}"

    def to_dict(self) -> dict[str, Any]:
        rows = [row_of(step) for step in self.steps]
        return self.shown.to_dict({name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)})


def _key(view: BatchPicture) -> str:
    used = {part.kind for life in view.lanes for part in view.drawn(life)}
    retracted = RETRACTED if any(life.num_retractions for life in view.lanes) else ""
    return f"<div>{key(*((kind, words) for kind, words in KEY.items() if kind in used))} {retracted}</div>"


def _row(label: str, track: str, note: str, *, prompt: str = "", title: str = "", kind: str = "") -> str:
    about = f' title="{to_html(title)}"' if title else ""
    name, after = to_html(label), to_html(note)
    name += f' <span class="wb-soft">{to_html(prompt)}</span>' if prompt else ""
    return f'<div class="wb-lane"{about}><span>{name}</span><div class="wb-track{kind}">{track}</div><span>{after}</span></div>'


def _steps(view: BatchPicture) -> str:
    rows = ""
    for kind in ("prefill", "decode"):
        counts = [step.num_prefill if kind == "prefill" else step.num_decode for step in view.steps]
        most = max(counts, default=0)
        marks = "".join(_step(view, step, count / most, kind) for step, count in zip(view.steps, counts, strict=True) if count)
        rows += _row(f"{kind} tokens", marks + _breaks(view), f"up to {most:,}" if most else "none", kind=" wb-tall")
    return rows


def _step(view: BatchPicture, step: DrawnStep, share: float, kind: str) -> str:
    place = _place(view, view.axis.at(step.start), view.axis.at(step.end))
    height = f"height:{max(100 * share, 8):.0f}%"
    return f'<span class="wb-{kind}" style="{place};{height}" title="{to_html(about_step(step))}"></span>'


def _lane(view: BatchPicture, life: Life) -> str:
    track = "".join(_stretch(view, part) for part in view.drawn(life))
    note = "waiting" if life.phase == "waiting" else f"{life.num_output:,} out"
    return _row(shortened(life.rid), track + _breaks(view), note, prompt=life.prompt, title=says(life, view.now))


def _stretch(view: BatchPicture, part: Stretch) -> str:
    start, end = view.ends(part)
    mark = ""
    if part.note.startswith("retracted"):
        mark = f'<b class="wb-mark" style="left:{_percent(view, start)}" title="{to_html(part.note)}">▼</b>'
    title = to_html(about_stretch(part, view.now))
    return f'<span class="wb-{part.kind}" style="{_place(view, start, end)}" title="{title}"></span>{mark}'


def _breaks(view: BatchPicture) -> str:
    breaks = ((_percent(view, place), duration(left_out)) for place, left_out in view.axis.breaks)
    return "".join(
        f'<span class="wb-break" style="left:{left}" title="{took} without any request"></span>' for left, took in breaks
    )


def _place(view: BatchPicture, start: float, end: float) -> str:
    return f"left:{_percent(view, start)};width:{_percent(view, end - start)}"


def _percent(view: BatchPicture, at: float) -> str:
    return f"{100 * at / (view.axis.length or 1.0):.2f}%"


def _scale(view: BatchPicture) -> str:
    left_out = sum(seconds for _, seconds in view.axis.breaks)
    note = soft(f"{duration(left_out)} without any request left out at the dashed lines") if left_out else ""
    ends = f"<span>0</span><span>{duration(view.axis.length)}</span>"
    return f'<div class="wb-lane"><span></span><div class="wb-soft wb-ends">{ends}</div><span></span></div>{note}'


def _listed(view: BatchPicture) -> str:
    """Returns what a click shows in the live view, folded away."""
    requests = table(REQUEST_HEAD, [request_row(life, view.now) for life in view.lanes], numeric=REQUEST_NUMERIC)
    shown = view.steps[-STEPS_LISTED:]
    steps = table(STEP_HEAD, [step_row(step) for step in shown], numeric=STEP_NUMERIC)
    parts = (("requests", requests), (f"last {len(shown)} steps", steps))
    return "".join(f"<details><summary>{name}</summary>{content}</details>" for name, content in parts)
