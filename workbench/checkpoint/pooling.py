"""The files of sentence-transformers beside a model, or a key of a GGUF file: which vector stands for a text. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbench.checkpoint.gguf_file import GgufFile, open_gguf_file
from workbench.errors import ModelCorrupt, ModelUnsupported, shown

Pool = Literal["mean", "cls", "last"]
MODES: dict[str, Pool] = {
    "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last",
    "mean": "mean", "cls": "cls", "lasttoken": "last",
}  # fmt: skip
"""Names in `1_Pooling/config.json`: keys that are true, or the value of `pooling_mode`."""


@dataclass(frozen=True)
class Pooling:
    """The way from the hidden states of a text to its vector."""

    pool: Pool
    """The mean of all tokens, or the first or last token alone."""
    normalise: bool
    """True: the vector has length 1."""
    max_tokens: int | None = None
    """Longest text for which the model was made; None is the model's own limit."""


GGUF_TYPES: dict[int, Pool] = {1: "mean", 2: "cls", 3: "last"}
"""Values of `pooling_type` in GGUF files."""


def read_pooling(folder: Path, default: Pooling) -> Pooling:
    """Returns the pooling of the folder's `modules.json`, or of a GGUF file, or `default` where there is none.

    Raises ModelUnsupported for a module or a pooling that is not computed.
    """
    if folder.is_file():
        return _of_gguf(open_gguf_file(folder), default)
    if not (folder / "modules.json").is_file():
        return default
    modules = _read(folder / "modules.json")
    if not isinstance(modules, list) or not all(isinstance(module, dict) and "path" in module for module in modules):
        raise ModelCorrupt(f"{folder / 'modules.json'} holds no list of modules", hint="is the model's folder complete?")
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    unknown = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if unknown:
        raise ModelUnsupported(f"modules.json has {unknown[0]}, which is not computed here", hint="computed: Pooling, Normalize")
    pools = [
        _pool(folder / str(module["path"]) / "config.json")
        for module, kind in zip(modules, kinds, strict=True)
        if kind == "Pooling"
    ]
    limits = folder / "sentence_bert_config.json"
    max_tokens = _read(limits).get("max_seq_length") if limits.is_file() else None
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        message = f"{limits} has max_seq_length = {shown(max_tokens)}, it must be a whole number above 0"
        raise ModelCorrupt(message, hint="is the model's folder complete?")
    return Pooling(pools[0] if pools else default.pool, "Normalize" in kinds, max_tokens)


def gguf_type(pooling: Pooling) -> int:
    """Returns the value of `pooling_type` for a pooling."""
    return next(number for number, pool in GGUF_TYPES.items() if pool == pooling.pool)


def _of_gguf(file: GgufFile, default: Pooling) -> Pooling:
    """Returns the pooling of a file that names one. It does not say whether vectors have length 1: readers give them that."""
    number = file.meta.get(f"{file.architecture}.pooling_type")
    if number is None:
        return default
    if number not in GGUF_TYPES:
        what = {0: "none: a vector for each token", 4: "rank: a score for a pair of texts"}.get(number, "unknown")
        hint = f"computed: {', '.join(f'{one} ({pool})' for one, pool in GGUF_TYPES.items())}"
        raise ModelUnsupported(f"{file.path} has the pooling_type {number} ({what}), which is not computed here", hint=hint)
    return Pooling(GGUF_TYPES[number], normalise=True)


def _pool(path: Path) -> Pool:
    values = _read(path)
    stated = values.get("pooling_mode")
    modes = [stated] if stated else [key for key, value in values.items() if key.startswith("pooling_mode_") and value is True]
    if len(modes) != 1 or modes[0] not in MODES:
        hint = f"computed: one of {', '.join(MODES)}"
        raise ModelUnsupported(
            f"{path} has the pooling {', '.join(map(str, modes)) or 'none'}, which is not computed here", hint=hint
        )
    return MODES[modes[0]]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelCorrupt(f"{path} cannot be read: {error}", hint="is the model's folder complete?") from None
