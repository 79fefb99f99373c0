"""From a folder in Hugging Face layout to a model in memory: safetensors mapped, fused, cast, packed. Never pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from workbench.errors import ModelCorrupt, ModelNotFound, ModelUnsupported
from workbench.model.base import CausalLM
from workbench.model.registry import family_of

DUMMY_STD = 0.02


def read_config(folder: Path, override: dict[str, Any] | None = None) -> dict[str, Any]:
    """The folder's config.json with `override` on top."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelNotFound(f"{folder} has no config.json", hint="give the folder of a model, or an alias") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelCorrupt(f"{path} is not JSON: {error}") from None
    return config | (override or {})


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
    config = read_config(folder, override)
    with torch.device("meta"):
        model = family_of(config)(config)
    model = model.to(dtype)
    if dummy:
        tensors = _random(model, dtype, seed)
    else:
        tensors = _checkpoint(model, folder)
    _fill(model, tensors, dtype, device)
    if model.ties_embeddings:
        model.lm_head.weight = model.embed_tokens.weight
    missing = [name for name, value in model.named_parameters() if value.is_meta]
    if missing:
        raise ModelCorrupt(
            f"{folder} lacks {len(missing)} tensors, the first is {missing[0]}", hint="the checkpoint is incomplete"
        )
    model.build_tables(dtype, device)
    model.prepare()
    return model.eval()


def _fill(model: CausalLM, tensors: Iterator[tuple[str, Tensor]], dtype: torch.dtype, device: torch.device) -> None:
    """Changes: puts each tensor into the parameter of its name."""
    shapes = {name: value.shape for name, value in model.named_parameters()}
    for name, tensor in tensors:
        if tensor.shape != shapes[name]:
            raise ModelCorrupt(
                f"{name} is {list(tensor.shape)}, config.json wants {list(shapes[name])}",
                hint="weights and config do not belong together",
            )
        parent, _, leaf = name.rpartition(".")
        value = tensor.to(device=device, dtype=dtype)
        setattr(model.get_submodule(parent), leaf, nn.Parameter(value, requires_grad=False))


def _random(model: CausalLM, dtype: torch.dtype, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Seeded weights: norms at their neutral value, the rest normal."""
    rng = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        if name.endswith("norm.weight"):
            yield name, torch.full(value.shape, 1.0 - float(getattr(owner, "offset", 0.0)))
        else:
            yield name, torch.randn(value.shape, generator=rng) * DUMMY_STD


def _checkpoint(model: CausalLM, folder: Path) -> Iterator[tuple[str, Tensor]]:
    """(our parameter name, tensor) for every parameter the checkpoint has."""
    with ExitStack() as stack:
        where = {}
        for path in _files(folder):
            try:
                handle = stack.enter_context(safe_open(path, framework="pt"))
            except (SafetensorError, OSError) as error:
                raise ModelCorrupt(f"{path} cannot be read: {error}", hint="it is truncated or damaged; fetch it again") from None
            where.update(dict.fromkeys(handle.keys(), handle))
        for name, _ in model.named_parameters():
            parts = [_find(part, where) for part in _stored_names(model, name)]
            if all(part is not None for part in parts):
                loaded = [where[part].get_tensor(part) for part in parts if part is not None]
                yield name, loaded[0] if len(loaded) == 1 else torch.cat(loaded)


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        absent = [name for name in names if not (folder / name).exists()]
        if absent:
            raise ModelCorrupt(f"{folder} lacks {len(absent)} of {len(names)} weight files, the first is {absent[0]}")
        return [folder / name for name in names]
    found = sorted(folder.glob("*.safetensors"))
    if found:
        return found
    pickled = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
    if pickled:
        raise ModelUnsupported(f"{pickled[0].name} is a pickled checkpoint, which can run code when it is read",
                               hint="convert it to safetensors where you trust it")  # fmt: skip
    raise ModelNotFound(f"{folder} has no *.safetensors file", hint='load_format="dummy" makes random weights')


def _stored_names(model: CausalLM, name: str) -> list[str]:
    for fused in model.fused:
        if f".{fused.name}." in name:
            return [name.replace(fused.name, part) for part in fused.parts]
    return [name]


def _find(name: str, where: dict[str, Any]) -> str | None:
    """Checkpoints put everything but the head below `model.`; multimodal ones further down."""
    return next(
        (
            full
            for prefix in ("model.", "", "language_model.model.", "model.language_model.", "language_model.")
            if (full := prefix + name) in where
        ),
        None,
    )
