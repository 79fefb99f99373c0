"""The batch timeline as static HTML: two rows of steps, and under them a waterfall of each request on the same axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.html.escape import to_html
from workbench.html.parts import duration, soft, table
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

if TYPE_CHECKING:
    from workbench.views.batch.facts import Life, Step, Stretch
    from workbench.views.batch.picture import BatchPicture

KEY = {
    "wait": "in the queue", "compile": "its constraint is compiled", "prefill": "a chunk of the prompt", "decode": "decode",
    "paused": "held up: a step was made without it",
}  # fmt: skip
RETRACTED = '<span class="wb-key"><b class="wb-mark">▼</b> retracted</span>'
STEPS_LISTED = 60
QUEUE_HEAD = ("waits", "since", "for")


def batch_html(view: BatchPicture) -> str:
    head = f"<p><b>{to_html(view.title)}</b></p>{soft(SEES)}"
    if not view.steps and not view.lanes:
        return head + soft(view.empty)
    used = {part.kind for life in view.lanes for part in view.drawn(life)}
    names = ((kind, words) for kind, words in KEY.items() if kind in used)
    key = "".join(f'<span class="wb-key"><span class="wb-{kind}"></span>{words}</span> ' for kind, words in names)
    key += RETRACTED if any(life.num_retractions for life in view.lanes) else ""
    lanes = "".join(_lane(view, life) for life in view.lanes)
    waiting = f'<div class="wb-journal">{table(QUEUE_HEAD, view.waiting, numeric=(1,))}</div>' if view.waiting else ""
    lanes = f'<div class="wb-lanes">{lanes}</div>'
    return f"{head}<div>{key}</div>{_steps(view)}{lanes}{_scale(view)}{soft(view.others)}{waiting}{_listed(view)}"


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


def _step(view: BatchPicture, step: Step, share: float, kind: str) -> str:
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
    """What a click shows in the live view, folded away."""
    requests = table(REQUEST_HEAD, [request_row(life, view.now) for life in view.lanes], numeric=REQUEST_NUMERIC)
    shown = view.steps[-STEPS_LISTED:]
    steps = table(STEP_HEAD, [step_row(step) for step in shown], numeric=STEP_NUMERIC)
    parts = (("requests", requests), (f"last {len(shown)} steps", steps))
    return "".join(f"<details><summary>{name}</summary>{content}</details>" for name, content in parts)
