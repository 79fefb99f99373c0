"""A quantised folder as a `Checkpoint`: each matrix has one name and comes as blocks, whatever it is stored as."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from workbench.checkpoint.base import Blocks, Checkpoint, Stored
from workbench.checkpoint.folders.codes import STATE, bitsandbytes, scaled
from workbench.checkpoint.folders.declared import Declared
from workbench.checkpoint.folders.integers import awq, compressed, gptq
from workbench.checkpoint.folders.microscaled import SUFFIX, Stack
from workbench.checkpoint.folders.parts import Matrix, Parts
from workbench.checkpoint.packing import Scaled

UNUSED = (
    "input_scale", "input_zero_point", "input_scale_ub", "output_scale", "k_scale", "v_scale", "q_scale", "kv_scale",
    "weight_format",
)  # fmt: skip
"""Leaves of scales for what is not quantised here: activations have scales of their own, K/V has the type `kv_cache_dtype`."""


class QuantisedFolder:
    """A `Checkpoint` over another one. Raises ModelCorrupt for parts that are missing, do not fit or hold no numbers."""

    def __init__(self, inner: Checkpoint, declared: Declared) -> None:
        self.path: Path = inner.path
        self.num_dense = 0
        """Matrices so far that no blocks of ours can hold."""
        self._inner = inner
        self._matrices: dict[str, Matrix] = {}
        self._stacks: dict[str, Stack] = {}
        used: set[str] = set()
        for name in inner.tensors:
            stem, _, leaf = name.rpartition(".")
            parts = Parts(inner, stem)
            if declared.method == "mxfp4" and leaf.endswith(SUFFIX):
                stack = Stack.of(parts, leaf)
                self._stacks[f"{stem}.{stack.name}.weight"] = stack
                used |= parts.used
                continue
            matrix = _describe(parts, leaf, inner.tensors[name].type, declared)
            if matrix is not None:
                self._matrices[f"{stem}.weight"] = matrix
                used |= parts.used
        kept = {name: stored for name, stored in inner.tensors.items() if name not in used and not _is_unused(name)}
        self.tensors = kept | {name: Stored(matrix.shape, matrix.type, False) for name, matrix in self._matrices.items()}
        self.tensors |= {name: Stored(stack.shape, "MXFP4", False) for name, stack in self._stacks.items()}

    @property
    def num_matrices(self) -> int:
        return len(self._matrices) + len(self._stacks)

    def read(self, name: str, rows: slice | None = None) -> Tensor | Blocks:
        if name in self._stacks:
            return self._stacks[name].read(rows)
        if name not in self._matrices:
            return self._inner.read(name, rows)
        value = self._matrices[name].read()
        if isinstance(value, Scaled):
            blocks = value.blocks()
            value = value.dense() if blocks is None else blocks
        self.num_dense += isinstance(value, Tensor)
        if rows is None:
            return value
        return value.cut(rows) if isinstance(value, Blocks) else value[rows]

    def __enter__(self) -> QuantisedFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self._inner.__exit__(*error)


def _describe(parts: Parts, leaf: str, kind: str, declared: Declared) -> Matrix | None:
    """Returns the matrix whose codes are the tensor `leaf`; None for any other tensor."""
    if leaf == "qweight":
        return awq(parts) if declared.method == "awq" else gptq(parts, 0 if _is_second(declared) else 1)
    if leaf == "weight_packed":
        return compressed(parts)
    if leaf == "weight" and kind == "U8" and any(parts.has(f"{STATE}{name}") for name in ("nf4", "fp4")):
        return bitsandbytes(parts)
    if leaf == "weight" and kind in ("I8", "F8_E4M3"):
        return scaled(parts, _block_of(declared))
    return None


def _is_second(declared: Declared) -> bool:
    return declared.settings.get("checkpoint_format") == "gptq_v2"


def _block_of(declared: Declared) -> Sequence[int]:
    """Returns the rows and columns that share a scale: a setting of `fp8`, and of the groups of compressed-tensors."""
    found = [declared.settings, *(declared.settings.get("config_groups") or {}).values()]
    for settings in found:
        weights = settings.get("weights")
        block = settings.get("weight_block_size") or (weights.get("block_structure") if isinstance(weights, dict) else None)
        if isinstance(block, list):
            return block
    return ()


def _is_unused(name: str) -> bool:
    return name.rpartition(".")[2] in UNUSED
