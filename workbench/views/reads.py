"""The memory that decoding reads: all weights once a step, and the K/V of every context."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from workbench.events import StepExecuted
from workbench.html.parts import size

LAST = 32
"""Steps over which the figures are means."""


class DecodeReads:
    """The reads of the last steps that only decoded."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        """Takes the engine's sizes from `info`, by the keys of `get_server_info`; without them nothing is counted."""
        self._weights: int = info.get("decode_weights_bytes", 0)
        self._per_token: int = info.get("kv_bytes_per_token", 0)
        self._window: int = info.get("kv_window", 0)
        self._windowed: int = info.get("kv_window_bytes_per_token", 0)
        self._steps: deque[tuple[int, int, float]] = deque(maxlen=LAST)
        """Bytes, tokens and seconds of each."""

    def add(self, step: StepExecuted) -> None:
        if not (self._weights and step.members and all(member.kind == "decode" for member in step.members)):
            return
        contexts = sum(self._context(member.num_cached + member.num_new) for member in step.members)
        num_new = sum(member.num_new for member in step.members)
        self._steps.append((self._weights + contexts, num_new, step.plan_s + step.execute_s + step.commit_s))

    def _context(self, num_tokens: int) -> int:
        """Returns the bytes of a context, of which some layers may see a window alone."""
        seen = min(num_tokens, self._window)
        return num_tokens * (self._per_token - self._windowed) + seen * self._windowed

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes read for each token of the last steps; before the first, for one stream without a context. None is unknown."""
        num_bytes, num_tokens, _ = self._sums()
        return num_bytes / num_tokens if num_tokens else self._weights or None

    @property
    def bytes_per_s(self) -> float | None:
        num_bytes, _, seconds = self._sums()
        return num_bytes / seconds if seconds else None

    def _sums(self) -> tuple[int, int, float]:
        return (
            sum(num_bytes for num_bytes, _, _ in self._steps),
            sum(num_tokens for _, num_tokens, _ in self._steps),
            sum(seconds for _, _, seconds in self._steps),
        )

    def words(self, bandwidth: float | None) -> str:
        """Returns the bytes of a token, and the share of the machine's bandwidth (bytes a second) where that is known."""
        if self.bytes_per_token is None:
            return ""
        share = f", {self.bytes_per_s / bandwidth:.0%} of {size(bandwidth)}/s" if bandwidth and self.bytes_per_s else ""
        return size(self.bytes_per_token) + share
