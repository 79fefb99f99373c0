"""From a model's files to a model in memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.checkpoint.base import Checkpoint
from workbench.checkpoint.folders.declared import Declared
from workbench.checkpoint.folders.folder import QuantisedFolder
from workbench.checkpoint.gguf_tensors import GgufCheckpoint, open_gguf
from workbench.checkpoint.given import GivenTensors
from workbench.checkpoint.names import Names
from workbench.checkpoint.pickled_files import open_pickled
from workbench.checkpoint.safetensors_files import open_safetensors
from workbench.checkpoint.sources import RandomSource, StoredSource, Survey
from workbench.checkpoint.weights import DENSE, WeightForm, Weights
from workbench.model.base import Model
from workbench.model.check import Checked, check_model
from workbench.model.linear import BlockWeight, Linear, packs

logger = logging.getLogger("workbench")


def load_model(
    path: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    dummy: bool = False,
    pickled: bool = False,
    override: dict[str, Any] | None = None,
    seed: int = 0,
    form: WeightForm = DENSE,
    num_positions: int | None = None,
    given: Mapping[str, Tensor] | None = None,
) -> Model:
    """Returns the model of a folder or GGUF file, ready for inference; with `dummy`, with random weights from the seed.

    `override` replaces keys of config.json; `pickled` reads `pytorch_model*.bin`; `num_positions` is the length of the engine's
    longest text, by default as many as the model has positions; `given` are tensors in the place of those of the same names.
    Raises ModelUnsupported, ModelNotFound or ModelCorrupt with the file's name, for tensors that are missing or that no layer
    reads before any is read.
    """
    checked = check_model(path, override, dummy=dummy)
    model = checked.family.model(checked.config)
    model.architecture = checked.entry.architecture
    if dummy:
        model.load(Weights(RandomSource(seed), dtype, device, form=form))
        _note_form(model, path, form, None)
    else:
        opened, names = open_checkpoint(path, checked, pickled=pickled)
        opened = GivenTensors(opened, given) if given else opened
        _load_stored(model, path, checked, opened, names, dtype, device, form)
    model.num_positions = num_positions
    model.build_tables(dtype, device)
    if device.type == "cpu" and not packs(dtype):
        name = str(dtype).removeprefix("torch.")
        logger.warning("this processor has no instructions for %s: long prompts take several times as long as in float32", name)
    return model.eval()


def _load_stored(
    model: Model, path: Path, checked: Checked, opened: Checkpoint, names: Names, dtype: torch.dtype, device: torch.device,
    form: WeightForm,
) -> None:  # fmt: skip
    with opened as checkpoint:
        survey = Survey(checkpoint, names)
        model.load(Weights(survey, dtype, torch.device("cpu")))
        survey.settle(checked.entry.title)
        if isinstance(checkpoint, GgufCheckpoint):
            checkpoint.check_scales()
        model.load(Weights(StoredSource(checkpoint, names), dtype, device, form=form))
        _note_form(model, path, form, checked.declared)
        if form.keeps and isinstance(checkpoint, QuantisedFolder) and checkpoint.num_dense:
            message = "%d of %d quantised matrices are computed dense, in %s: no blocks of the kernels hold their numbers"
            logger.warning(message, checkpoint.num_dense, checkpoint.num_matrices, str(dtype).removeprefix("torch."))


def _note_form(model: Model, path: Path, form: WeightForm, declared: Declared | None) -> None:
    """Changes: names the form of the weights, where they are quantised."""
    method = form.online or (declared.method if declared is not None else "gguf" if path.is_file() else None)
    model.quantization = method if method is None or model.has_blocks() else "dequant"
    layers = [module for module in model.modules() if isinstance(module, Linear) and not module.is_head]
    dense = sum(not isinstance(layer.weight, BlockWeight) for layer in layers)
    if form.online is not None and form.keeps and dense:
        message = "%d of %d layers stay as they are: the groups of %s do not divide their rows"
        logger.warning(message, dense, len(layers), form.online)


def open_checkpoint(path: Path, checked: Checked, *, pickled: bool = False) -> tuple[Checkpoint, Names]:
    """Returns the weights of a folder or GGUF file, and how their names pair with those of the family's layers."""
    if path.is_file():
        return open_gguf(path), checked.family.gguf_names(checked.config)
    names, opened = checked.family.safetensors_names(checked.config), opened_folder(path, checked, pickled=pickled)
    return opened if checked.declared is None else QuantisedFolder(opened, checked.declared), names


def opened_folder(path: Path, checked: Checked, *, pickled: bool = False) -> Checkpoint:
    """Returns the tensors of a folder, with those of the model that lie in another one."""
    opened: Checkpoint = open_pickled(path) if pickled else open_safetensors(path)
    if checked.family.beside is None:
        return opened
    try:
        return checked.family.beside(opened, checked.config)
    except BaseException:
        opened.__exit__()
        raise
