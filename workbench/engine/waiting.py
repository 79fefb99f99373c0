"""One stay in the queue, as seconds by reason. The reason may change at every step; only some changes are logged."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.events import Waited, WaitReason

RENEW_S = 1.0
"""Seconds before a reason is logged again; after that, the stay must have become twice as long."""


@dataclass(slots=True)
class _Reason:
    seconds: float = 0.0
    longest_s: float = 0.0
    blocked_by: str = ""
    """The request that blocked it in the longest stretch."""
    has_others: bool = False


class Wait:
    """Seconds by reason, from the first refusal of a request to the end of its stay."""

    def __init__(self, now: float) -> None:
        self._began = self._told_at = self._since = now
        self._reasons: dict[WaitReason, _Reason] = {}
        self._key: tuple[WaitReason, str] | None = None

    def turn_to(self, reason: WaitReason, blocked_by: str, now: float) -> bool:
        """Changes: from `now` on it waits for this. Returns True if an event should be logged."""
        if self._key == (reason, blocked_by):
            return False
        is_other = self._key is None or self._key[0] != reason
        self._close(now)
        self._key, self._since = (reason, blocked_by), now
        is_due = now - self._began >= max(RENEW_S, 2 * (self._told_at - self._began))
        if reason not in self._reasons:
            self._reasons[reason] = _Reason(blocked_by=blocked_by)
        elif not (is_other and is_due):
            return False
        self._told_at = now
        return True

    @property
    def present(self) -> tuple[WaitReason, str, float] | None:
        """The present reason as (reason, blocking request, since when)."""
        return None if self._key is None else (*self._key, self._since)

    def parts(self, now: float) -> tuple[Waited, ...]:
        """Changes: ends the stay. The longest part first."""
        self._close(now)
        parts = (Waited(name, of.seconds, of.blocked_by, of.has_others) for name, of in self._reasons.items())
        return tuple(sorted(parts, key=lambda part: -part.seconds))

    def _close(self, now: float) -> None:
        if self._key is None:
            return
        of, blocked_by, took = self._reasons[self._key[0]], self._key[1], now - self._since
        of.seconds += took
        of.has_others |= blocked_by != of.blocked_by
        if took > of.longest_s:
            of.longest_s, of.blocked_by = took, blocked_by
