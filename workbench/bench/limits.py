"""Measures how near an engine comes to what the machine can do: in reading memory at one stream, in products at prefill."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.bench.one_batch import open_runner
from workbench.bench.report import markdown_table
from workbench.config import ServerArgs

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.model.base import Model
    from workbench.model.linear import Linear

ROWS = 512
"""Rows of the product whose speed counts as the peak."""
ROUNDS = 20


@dataclass(frozen=True)
class Limits:
    """Work of one model for a token, and the speed of one machine."""

    bytes_per_token: int
    """Bytes of the weights that a decode step reads."""
    bytes_per_s: float
    """Speed at which all threads together read memory."""
    operations_per_token: int
    """Multiplications and additions of the products of a prompt's token."""
    operations_per_s: float
    """Speed of one product of `ROWS` rows with the largest matrix of a layer."""

    @classmethod
    def of(cls, args: ServerArgs) -> Limits:
        """Loads the model and measures, in a few seconds."""
        import torch

        from workbench.engine.bandwidth import memory_bandwidth

        runner, _ = open_runner(args, ROWS)
        model = runner.model
        layers = linear_layers(model)
        largest = max(layers, key=lambda layer: layer.in_features * layer.out_features)
        x = torch.randn(ROWS, largest.in_features).to(runner.kv.dtype)
        fastest = min(_seconds(largest, x) for _ in range(ROUNDS))
        return cls(
            bytes_per_token=model.decode_bytes(),
            bytes_per_s=memory_bandwidth(runner.device),
            operations_per_token=sum(2 * layer.in_features * layer.out_features for layer in layers),
            operations_per_s=2 * ROWS * largest.in_features * largest.out_features / fastest,
        )

    def table(self, decoded: float, prefilled: float) -> str:
        """Returns both shares, given the tokens per second of one stream and of the prefill."""
        rows = [
            self._row("1 stream: reading of weights", decoded, self.bytes_per_token, self.bytes_per_s, "GB/s"),
            self._row("prefill: products", prefilled, self.operations_per_token, self.operations_per_s, "Gop/s"),
        ]
        return markdown_table(["workbench", "tok/s", "a token takes", "so it does", "the machine does", "share"], rows)

    @staticmethod
    def _row(name: str, tokens: float, each: int, most: float, unit: str) -> list[str]:
        kind = unit.removesuffix("/s")
        done = tokens * each
        cells = [f"{each / 1e9:.3f} {kind}", f"{done / 1e9:,.0f} {unit}", f"{most / 1e9:,.0f} {unit}"]
        return [name, f"{tokens:,.0f}", *cells, f"{done / most:.0%}"]


def linear_layers(model: Model) -> list[Linear]:
    """Returns those that every token goes through: all but the head."""
    from workbench.model.linear import Linear

    return [module for module in model.modules() if isinstance(module, Linear) and not module.is_head]


def _seconds(layer: Linear, x: Tensor) -> float:
    began = time.perf_counter()
    layer(x)
    return time.perf_counter() - began
