"""The reasons a request waited for: how long for each, which request was ahead, and the words for it."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.events import Event, RequestWaited, RequestWaiting, Waited, WaitReason
from workbench.html.parts import duration, plural

SHORTEST_S = 0.0005
"""Shorter waits are left out of the sentence, unless all are."""


def behind(reason: WaitReason, blocked_by: str) -> str:
    """Returns a reason in words, with the request that was ahead."""
    return reason + (f", behind {blocked_by}" if blocked_by else "")


def waits_for(reason: WaitReason, blocked_by: str, num_needed: int, num_available: int) -> str:
    """Returns the same with the numbers that decided, for reasons that have some."""
    words = behind(reason, blocked_by)
    if reason == "memory" and num_needed:
        return f"{words}: {plural(num_needed, 'page')} needed, {num_available:,} available"
    if reason == "picture memory":
        return f"{words}: {plural(num_needed, 'row')} of pictures needed, {num_available:,} available"
    if reason == "batch full":
        return f"{words}: {num_available:,} running at most"
    return words


def waits_of(events: Sequence[Event], now: float) -> list[Waited]:
    """Returns the time for each reason over all stays in the queue, the longest first; a stay that lasts counts up to `now`."""
    ended = [part for event in events if isinstance(event, RequestWaited) for part in event.parts]
    last = max((i for i, event in enumerate(events) if isinstance(event, RequestWaited)), default=-1)
    open_ = [event for event in events[last + 1 :] if isinstance(event, RequestWaiting)]
    until = [*(event.time for event in open_), now][1:]
    lasting = [Waited(event.reason, end - event.time, event.blocked_by) for event, end in zip(open_, until, strict=True)]
    by_reason: dict[WaitReason, Waited] = {}
    for part in sorted([*ended, *lasting], key=lambda part: -part.seconds):
        first = by_reason.setdefault(part.reason, part)
        if first is not part:
            others = first.has_others or part.has_others or first.blocked_by != part.blocked_by
            by_reason[part.reason] = Waited(first.reason, first.seconds + part.seconds, first.blocked_by, others)
    return sorted(by_reason.values(), key=lambda part: -part.seconds)


def in_sentence(waits: Sequence[Waited]) -> str:
    """Returns what follows "12 ms waiting": " for memory (behind r1)", or several reasons with their times."""
    shown = [part for part in waits if part.seconds >= SHORTEST_S] or waits[:1]
    ahead = [f"{'longest ' * part.has_others}behind {part.blocked_by}" if part.blocked_by else "" for part in shown]
    if len(shown) < 2:
        return "".join(f" for {part.reason}{f' ({name})' * bool(name)}" for part, name in zip(shown, ahead, strict=True))
    parts = (
        f"{duration(part.seconds)} for {part.reason}{f', {name}' * bool(name)}" for part, name in zip(shown, ahead, strict=True)
    )
    return f" ({'; '.join(parts)})"
