"""The safetensors files of a folder: tensors by name, mapped and not read; what is missing, foreign or left over is named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.model.families import Family
from workbench.model.folder import needed_files, refuse_adapter

PREFIXES = ("model.", "", "language_model.model.", "model.language_model.", "language_model.")
"""Checkpoints put everything but the head below `model.`; multimodal ones further down."""
FLOATS = ("F64", "F32", "F16", "BF16")


class Checkpoint:
    """Open for one load, as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._where: dict[str, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Checkpoint:
        refuse_adapter(self.folder)
        for path in needed_files(self.folder):
            try:
                handle = self._stack.enter_context(safe_open(path, framework="pt"))
            except (SafetensorError, OSError) as error:
                hint = "get the file again from where it came"
                raise ModelCorrupt(f"{path} is truncated or damaged: {error}", hint=hint) from None
            twice = sorted(self._where.keys() & set(handle.keys()))
            if twice:
                raise ModelCorrupt(f"{twice[0]} is in {path.name} and in another file of {self.folder}", hint="keep one of them")
            self._where.update(dict.fromkeys(handle.keys(), handle))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def plan(self, sources: Mapping[str, list[str]], optional: set[str]) -> dict[str, list[str]]:
        """Our parameter name -> its tensors in the files. Of `optional` ones at least one must be there."""
        found = {name: [self._find(part) for part in parts] for name, parts in sources.items()}
        whole = {name: [part for part in stored if part] for name, stored in found.items() if None not in stored}
        gaps = [name for name in sources if name not in whole and (name not in optional or not optional & whole.keys())]
        missing = [part for name in gaps for part in sources[name] if self._find(part) is None]
        if missing:
            others = self._unread(found, r"inv_freq$")
            more = f", and has {_named(others)}, which {'is' if len(others) == 1 else 'are'} not known here" if others else ""
            raise ModelCorrupt(
                f"{self.folder} lacks {_named(missing)}{more}",
                hint="the checkpoint is incomplete, or config.json is of another model",
            )
        return whole

    def refuse_unread(self, found: Mapping[str, list[str]], family: Family) -> None:
        """Raises for a tensor that nothing reads: whatever it is for would be missing from the answers."""
        unread = self._unread(found, family.leftovers)
        if unread:
            raise ModelUnsupported(
                f"{self.folder} has {_named(unread)}, which {family.title} does not read",
                hint="is config.json the one of these weights? biases, for one, are read where it has attention_bias",
            )

    def check(self, name: str, parts: list[str], shape: tuple[int, ...]) -> None:
        """Raises for numbers that are no floats, and for shapes that do not make `shape` together."""
        slices = [self._where[part].get_slice(part) for part in parts]
        for part, stored in zip(parts, slices, strict=True):
            if stored.get_dtype() not in FLOATS:
                raise ModelUnsupported(
                    f"{part} is stored as {stored.get_dtype()}: the weights are quantised, which does not run yet",
                    hint="use the same model in bfloat16, float16 or float32, or a GGUF of it",
                )
        shapes = [tuple(stored.get_shape()) for stored in slices]
        rows, rest = sum(one[0] for one in shapes if one), {one[1:] for one in shapes}
        if rest != {tuple(shape[1:])} or rows != shape[0]:
            given = " and ".join(f"{part} {list(one)}" for part, one in zip(parts, shapes, strict=True))
            raise ModelCorrupt(
                f"the file has {given}, config.json wants {list(shape)} for {name}",
                hint="weights and config do not belong together",
            )

    def read(self, part: str) -> Tensor:
        tensor: Tensor = self._where[part].get_tensor(part)
        return tensor

    def _unread(self, found: Mapping[str, Sequence[str | None]], leftovers: str) -> list[str]:
        read = {part for parts in found.values() for part in parts}
        return [name for name in self._where if name not in read and not re.search(leftovers, name)]

    def _find(self, name: str) -> str | None:
        return next((full for prefix in PREFIXES if (full := prefix + name) in self._where), None)


def _named(names: list[str]) -> str:
    return f"the tensor {names[0]}" if len(names) == 1 else f"{len(names)} tensors, {names[0]} first"
