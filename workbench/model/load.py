"""From a model's files to a model in memory."""

from __future__ import annotations

import logging
from collections.abc import Container
from pathlib import Path
from typing import Any

import torch

from workbench.checkpoint.base import Checkpoint
from workbench.checkpoint.gguf_tensors import open_gguf
from workbench.checkpoint.names import Names
from workbench.checkpoint.safetensors_files import open_safetensors
from workbench.checkpoint.sources import RandomSource, StoredSource, Survey
from workbench.checkpoint.weights import Weights
from workbench.model.base import Model
from workbench.model.check import Checked, check_model
from workbench.model.linear import packs

logger = logging.getLogger("workbench")


def load_model(
    path: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    dummy: bool = False,
    override: dict[str, Any] | None = None,
    seed: int = 0,
    keeps: Container[str] = (),
) -> Model:
    """Returns the model of a folder or GGUF file, ready for inference; with `dummy`, with random weights from the seed.

    `override` replaces keys of config.json. Quantised blocks of the types in `keeps` are multiplied as they lie in the file, all
    others become dense. Raises ModelUnsupported, ModelNotFound or ModelCorrupt with the file's name, for
    tensors that are missing or that no layer reads before any is read.
    """
    checked = check_model(path, override, dummy=dummy)
    model = checked.family.model(checked.config)
    if dummy:
        model.load(Weights(RandomSource(seed), dtype, device))
    else:
        _load_stored(model, path, checked, dtype, device, keeps)
    model.build_tables(dtype, device)
    if device.type == "cpu" and not packs(dtype):
        name = str(dtype).removeprefix("torch.")
        logger.warning("this processor has no instructions for %s: long prompts take several times as long as in float32", name)
    return model.eval()


def _load_stored(
    model: Model, path: Path, checked: Checked, dtype: torch.dtype, device: torch.device, keeps: Container[str]
) -> None:
    opened, names = open_checkpoint(path, checked)
    with opened as checkpoint:
        survey = Survey(checkpoint, names)
        model.load(Weights(survey, dtype, torch.device("cpu")))
        survey.settle(checked.entry.title)
        quantised = {tensor.type for tensor in checkpoint.tensors.values() if not tensor.is_dense}
        if quantised:
            model.quantization = "gguf" if any(name in keeps for name in quantised) else "dequant"
        model.load(Weights(StoredSource(checkpoint, names), dtype, device, keeps=keeps))


def open_checkpoint(path: Path, checked: Checked) -> tuple[Checkpoint, Names]:
    """Returns the weights of a folder or GGUF file, and how their names pair with those of the family's layers."""
    if path.is_file():
        return open_gguf(path), checked.family.gguf_names(checked.config)
    return open_safetensors(path), checked.family.safetensors_names()
