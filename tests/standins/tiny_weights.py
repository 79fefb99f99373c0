"""Checkpoints of tiny models with seeded weights, written without transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from workbench.checkpoint.weights import Weights
from workbench.model.check import check_config
from workbench.model.tiny import TINY_LLAMA, write_config


class Listing:
    """A source of seeded tensors that keeps them by the names under which layers ask for them."""

    def __init__(self, seed: int) -> None:
        self.found: dict[str, torch.Tensor] = {}
        self._rng = torch.Generator().manual_seed(seed)

    def has(self, name: str) -> bool:
        return False

    def read(self, name: str, shape: tuple[int, ...], rows: slice | None, neutral: float | None) -> torch.Tensor:
        self.found[name] = torch.randn(shape, generator=self._rng)
        return self.found[name]


def tensors_of(config: dict[str, Any], seed: int = 0) -> dict[str, torch.Tensor]:
    """Returns seeded weights of a config, under the names and in the shapes of a checkpoint."""
    checked, listing = check_config(config), Listing(seed)
    checked.family.model(checked.config).load(Weights(listing, torch.float32, torch.device("cpu")))
    return {name if name.startswith("lm_head") else f"model.{name}": value for name, value in listing.found.items()}


def write_checkpoint(folder: Path, config: dict[str, Any] = TINY_LLAMA, seed: int = 0, **changes: Any) -> Path:
    """Writes a folder with a config.json and weights."""
    write_config(folder, config, **changes)
    save_file(tensors_of(config | changes, seed), folder / "model.safetensors")
    return folder
