"""Sentences about steps and requests, for the tables, the tips and the text of the batch timeline."""

from __future__ import annotations

from workbench.html.escape import visible
from workbench.html.parts import duration, plural
from workbench.views.batch.state import DrawnStep, Life, Stretch

WORDS = {"wait": "queue", "compile": "constraint", "prefill": "prefill", "decode": "decode", "paused": "held up"}
SEES = "Time runs to the right. Above: how many tokens each step computed. Below: one row a request, what it did or waited for."
MAX_NAMED = 12
MAX_ID = 12
"""Characters of an id that fit in a lane."""
MAX_PROMPT = 48
"""Characters of a prompt that fit in a lane."""


def says(life: Life, now: float) -> str:
    """Returns a request's life in one sentence."""
    took = [f"{duration(seconds)} {WORDS[kind]}" for kind, seconds in life.seconds(now).items() if seconds >= 5e-5]
    prompt = plural(life.num_prompt, "prompt token")
    words = [f"{life.num_cached:,} of {prompt} reused" if life.cache_reason else prompt]
    words += [f"{plural(life.num_output, 'token')} out", ", ".join(took) or "no time yet"]
    if life.num_retractions:
        words.append(f"retracted {plural(life.num_retractions, 'time')}, {life.num_lost:,} tokens given up")
    state = (
        f"ended by {life.finish}" if life.finish else f"waiting: {waiting_for(life)}" if life.phase == "waiting" else "running"
    )
    sender = [f"sent by {visible(life.origin)}"] if life.origin else []
    return f"{life.rid}: {'; '.join([*words, state, *sender])}"


def shortened(rid: str) -> str:
    """Shortens a long id and keeps both ends: samples and options of one call differ in the last characters."""
    return f"{rid[:6]}…{rid[-4:]}" if len(rid) > MAX_ID else rid


def one_line(text: str) -> str:
    """Returns the beginning of a prompt in one line."""
    words = visible(" ".join(text.split()))
    return words if len(words) <= MAX_PROMPT else f"{words[:MAX_PROMPT]}…"


def waiting_for(life: Life) -> str:
    """Returns what a request waits for."""
    return life.waits_for or "the next step"


REQUEST_HEAD = ("request", "begins", "state", "prompt", "reused", "out", "queue", "compile", "prefill", "decode", "held up",
                "retracted")  # fmt: skip
REQUEST_NUMERIC = tuple(range(3, 12))
STEP_HEAD = ("step", "took", "prefill", "decode", "reused", "budget left", "waiting", "requests")
STEP_NUMERIC = tuple(range(7))


def request_row(life: Life, now: float) -> tuple[str, ...]:
    times = (duration(seconds) if seconds else "" for seconds in life.seconds(now).values())
    retracted = f"{life.num_retractions}, {life.num_lost:,} tokens" if life.num_retractions else ""
    counts = (f"{life.num_prompt:,}", f"{life.num_cached:,}", f"{life.num_output:,}")
    return (life.rid, life.prompt, life.phase, *counts, *times, retracted)


def step_row(step: DrawnStep) -> tuple[str, ...]:
    who = ", ".join(f"{m.rid} ({m.kind} {m.num_new})" if m.kind == "prefill" else m.rid for m in step.members)
    counts = (step.num_prefill, step.num_decode, step.num_reused, step.budget_left, step.num_waiting)
    return (f"{step.number:,}", duration(step.end - step.start), *(f"{count:,}" for count in counts), who)


def about_step(step: DrawnStep) -> str:
    """Returns a step in one line."""
    names = [f"{m.rid} ({m.num_new:,} of its prompt)" if m.kind == "prefill" else m.rid for m in step.members[:MAX_NAMED]]
    more = f" and {len(step.members) - MAX_NAMED:,} more" if len(step.members) > MAX_NAMED else ""
    words = (
        duration(step.end - step.start), f"{step.num_prefill:,} prefill and {step.num_decode:,} decode tokens",
        *([f"{step.num_pictured:,} of them of pictures"] if step.num_pictured else []),
        f"{step.num_reused:,} reused", f"budget left {step.budget_left:,}", f"{step.num_waiting:,} waiting",
    )  # fmt: skip
    return f"step {step.number}: {', '.join(words)}: {', '.join(names)}{more}"


def about_stretch(part: Stretch, now: float) -> str:
    """Returns a stretch in one line."""
    words = [f"{WORDS[part.kind]} {duration((now if part.end is None else part.end) - part.start)}"]
    if part.first_step:
        steps = f"steps {part.first_step} to {part.last_step}" if part.first_step < part.last_step else f"step {part.first_step}"
        words += [steps, plural(part.num_tokens, "token")]
    return ", ".join([*words, *([part.note] if part.note else [])])
