"""The events of one program, and of an engine that answered it."""

from __future__ import annotations

from workbench.events import (
    PartFinished,
    PartReached,
    ProgramFinished,
    ProgramStarted,
    RequestArrived,
    RequestFinished,
    RequestLinked,
    RequestScheduled,
    TokenSampled,
)

P = {"program": "p"}


def reached(time, part, kind, branch=(), **more):
    return PartReached(time=time, part=part, kind=kind, branch=branch, **P, **more)


def story(text="Paris"):
    return [
        ProgramStarted(time=0.0, name="qa", backend="Engine", model="m", **P),
        reached(0.1, 1, "rolebegin", name="user"),
        reached(0.1, 2, "text", text=f"Q {text}"),
        reached(0.1, 3, "roleend", name="user"),
        reached(0.2, 4, "fork", detail="2 states"),
        reached(0.3, 5, "text", (0, 0), text="L"),
        reached(0.3, 6, "text", (0, 1), text="R"),
        reached(0.4, 7, "gen", (0, 1), name="x", detail="regex [a-z]+", place="line 3 of qa.py"),
        RequestLinked(time=0.4, part=7, rid="r7", **P),
        reached(0.4, 8, "fork", (0, 0), detail="1 states"),
        reached(0.5, 9, "select", (0, 0, 0, 0), name="y", detail="token_length_normalized of 'a', 'b'"),
        PartFinished(time=0.9, part=7, text=text, num_prompt=10, num_cached=6, num_output=2, finish="length limit",
                     logprobs=((text, -0.5),), **P),
        PartFinished(time=1.0, part=9, text="b", scores=(("a", "-2.000"), ("b", "-1.000")), **P),
        reached(1.1, 10, "gen", name="z"),
        ProgramFinished(time=2.0, **P),
    ]  # fmt: skip


def engine_events():
    return [
        RequestArrived(time=10.0, rid="r7", num_prompt=10, max_new_tokens=2),
        RequestArrived(time=10.0, rid="other", num_prompt=10, max_new_tokens=2),
        RequestScheduled(time=10.1, rid="r7", num_cached=6, num_pending=4),
        TokenSampled(time=10.3, rid="r7", token_id=1, position=0),
        RequestFinished(time=10.7, rid="r7", reason="length", detail="", num_prompt=10, num_cached=6, num_output=2),
    ]
