"""The contract of an attention backend: index work once per step, arithmetic once per layer."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from workbench.attention.step import StepTensors


class AttentionBackend(Protocol):
    def prepare(self, step: StepTensors) -> Any:
        """Index tensors shared by all layers of this step."""

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, plan: Any, *, scale: float,
        window: int | None = None, softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        """Write k, v [T, Hkv, D] to the KV store, then return attention of q [T, Hq, D] over each row's own context.

        A row attends to its position and all before it; with `window`, to the last `window` of them. With `softcap`,
        scores s become softcap * tanh(s / softcap).
        """
