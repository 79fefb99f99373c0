"""Stacks of matrices in MXFP4: numbers of four bits, and one power of two for 32 of a row."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from workbench.checkpoint.base import Blocks
from workbench.checkpoint.folders.parts import Parts
from workbench.checkpoint.packing import Scaled

SUFFIX = "_blocks"
"""End of the names of the numbers; that of the powers is `_scales`."""
NUMBERS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Number of each code of three bits; the fourth is the sign. All are numbers of float8 e4m3 too."""
GROUP_LEN, EXPONENT_BIAS = 32, 127


@dataclass(frozen=True)
class Stack:
    """A stack of matrices, described before its numbers are read."""

    parts: Parts
    name: str
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, parts: Parts, leaf: str) -> Stack:
        """Describes the tensor `leaf`, uint8 [matrices, out, groups, 16] of two numbers a byte, the lower half first."""
        name = leaf.removesuffix(SUFFIX)
        num, num_out, num_groups, num_bytes = parts.shape(leaf)
        parts.expect(leaf, (num, num_out, num_groups, GROUP_LEN // 2))
        parts.expect(f"{name}_scales", (num, num_out, num_groups))
        return cls(parts, name, (num, num_out, num_groups * num_bytes * 2))

    def read(self, rows: slice | None) -> Blocks:
        """Returns some of the matrices, or all, in our blocks of 8 bits: the numbers are the same."""
        rows = rows or slice(0, self.shape[0])
        stem, checkpoint = self.parts.stem, self.parts.checkpoint
        packed, powers = (checkpoint.read(f"{stem}.{self.name}{end}", rows) for end in (SUFFIX, "_scales"))
        assert not isinstance(packed, Blocks)
        assert not isinstance(powers, Blocks)
        places = torch.stack((packed & 15, packed >> 4), -1).flatten(-3).flatten(0, 1)
        codes = torch.tensor([*NUMBERS, *(-number for number in NUMBERS)])[places.int()].to(torch.float8_e4m3fn)
        exponents = powers.flatten(0, 1).int() - EXPONENT_BIAS
        scale = torch.ldexp(torch.ones(exponents.shape), exponents)
        blocks = Scaled(codes, scale, GROUP_LEN).blocks()
        assert blocks is not None
        return replace(blocks, shape=(rows.stop - rows.start, *self.shape[1:]))
