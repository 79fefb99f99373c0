"""From a folder in Hugging Face layout to a model in memory: safetensors mapped, fused, cast, packed. Never pickle."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.model.base import CausalLM
from workbench.model.checkpoint import Checkpoint
from workbench.model.config import check_config, read_config, settings
from workbench.model.families import Family
from workbench.model.layers import packs
from workbench.model.registry import CLASSES

logger = logging.getLogger("workbench")
DUMMY_STD = 0.02


def load_model(
    folder: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    dummy: bool = False,
    override: dict[str, Any] | None = None,
    seed: int = 0,
) -> CausalLM:
    """The model, ready for inference. Raises `ModelUnsupported`, `ModelNotFound` or `ModelCorrupt` with the file's name."""
    config = read_config(folder) | (override or {})
    family = check_config(config, None if dummy else folder)
    with torch.device("meta"):
        model = CLASSES[family.architecture](settings(family, config)).to(dtype)
    with ExitStack() as stack:
        tensors = _random(model, dtype, seed) if dummy else _stored(model, family, stack.enter_context(Checkpoint(folder)))
        for name, tensor in tensors:
            _set(model, name, tensor.to(device=device, dtype=dtype))
    _tie(model)
    model.build_tables(dtype, device)
    model.prepare()
    if device.type == "cpu" and not packs(dtype):
        name = str(dtype).removeprefix("torch.")
        logger.warning("this processor has no instructions for %s: long prompts take several times as long as in float32", name)
    return model.eval()


def _random(model: CausalLM, dtype: torch.dtype, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Seeded weights: norms at their neutral value, the rest normal."""
    rng = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        if name.endswith("norm.weight"):
            yield name, torch.full(value.shape, 1.0 - float(getattr(owner, "offset", 0.0)))
        elif name != "lm_head.weight" or not model.ties_embeddings:
            yield name, torch.randn(value.shape, generator=rng) * DUMMY_STD


def _stored(model: CausalLM, family: Family, checkpoint: Checkpoint) -> Iterator[tuple[str, Tensor]]:
    """(our parameter name, tensor) for every parameter. Names, types and shapes are all checked before the first is read."""
    shapes = {name: value.shape for name, value in model.named_parameters()}
    sources = {name: model.stored_names(name) for name in shapes}
    found = checkpoint.plan(sources, optional={"lm_head.weight", "embed_tokens.weight"} if model.ties_embeddings else set())
    checkpoint.refuse_unread(found, family)
    for name, parts in found.items():
        checkpoint.check(name, parts, shapes[name])
    for name, parts in found.items():
        loaded = [checkpoint.read(part) for part in parts]
        yield name, loaded[0] if len(loaded) == 1 else torch.cat(loaded)


def _set(model: CausalLM, name: str, value: Tensor) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, nn.Parameter(value, requires_grad=False))


def _tie(model: CausalLM) -> None:
    """Changes: one matrix serves as head and embedding where the config says so, unless the file has another head."""
    if not model.ties_embeddings:
        return
    if model.embed_tokens.weight.is_meta:
        model.embed_tokens.weight = model.lm_head.weight
    elif model.lm_head.weight.is_meta or torch.equal(model.lm_head.weight, model.embed_tokens.weight):
        model.lm_head.weight = model.embed_tokens.weight
    else:
        logger.warning("config.json ties the head to the embedding, and the file has a head of its own: that one is used")
