"""Turns quantised blocks into float32; those of GGUF files bit for bit as the `gguf` library does.

The types that most files use are written out here, because torch computes them on all cores; the library does the rest.
Names of the parts: d and m are scale and offset of a block, q its small whole numbers, N the number of blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workbench.checkpoint.block_types import GGUF_TYPES, NF4_NUMBERS, OWN_TYPES

CHUNK = 1 << 20
"""Numbers at a time: 4 MiB of float32 stay near the cache."""
BY_NAME = {kind.name: kind for kind in (GGUF_TYPES | OWN_TYPES).values()}


def dequantise(type_name: str, data: Tensor, out: Tensor) -> None:
    """Changes: writes the numbers of `data`, uint8 [rows, bytes of a row], to `out`, contiguous float32 of as many numbers.

    `can_dequantise` names the types.
    """
    kind = BY_NAME[type_name]
    blocks, numbers = data.reshape(-1, kind.block_bytes), out.view(-1, kind.block_len)
    fill = FILLS.get(type_name) or _by_library(type_name)
    step = CHUNK // kind.block_len
    for start in range(0, len(blocks), step):
        fill(blocks[start : start + step], numbers[start : start + step])


def can_dequantise(type_name: str) -> bool:
    if type_name in FILLS:
        return True
    from gguf.quants import _type_traits  # the library has no public list

    return any(kind.name == type_name for kind in _type_traits)


def readable_types() -> list[str]:
    """Returns the types of matrices in GGUF files that are read."""
    return [kind.name for kind in GGUF_TYPES.values() if can_dequantise(kind.name)]


def _by_library(type_name: str) -> Callable[[Tensor, Tensor], None]:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    def fill(blocks: Tensor, out: Tensor) -> None:
        out.copy_(torch.from_numpy(dequantize(blocks.numpy(), GGMLQuantizationType[type_name])))

    return fill


def _half(blocks: Tensor, at: int) -> Tensor:
    """Returns the float16 number at byte `at` of every block, float32 [N, 1]."""
    return blocks[:, at : at + 2].contiguous().view(torch.float16).float()


def _nibbles(blocks: Tensor, start: int) -> Tensor:
    """Returns q [N, 32] of the 16 bytes from `start` on: first all low halves, then all high ones."""
    packed = blocks[:, start : start + 16]
    return torch.cat((packed & 15, packed >> 4), 1)


def _fifth_bits(blocks: Tensor, start: int) -> Tensor:
    """Returns 0 or 16 for each of 32 numbers, uint8 [N, 32], from the 32 bits at byte `start`."""
    shifts = torch.arange(8, dtype=torch.uint8)
    bits = blocks[:, start : start + 4, None] >> shifts & 1  # [N, 4, 8]
    return bits.flatten(1) << 4


def _q4_0(blocks: Tensor, out: Tensor) -> None:
    out.copy_(_nibbles(blocks, 2)).sub_(8).mul_(_half(blocks, 0))


def _q4_1(blocks: Tensor, out: Tensor) -> None:
    out.copy_(_nibbles(blocks, 4)).mul_(_half(blocks, 0)).add_(_half(blocks, 2))


def _q5_0(blocks: Tensor, out: Tensor) -> None:
    out.copy_(_nibbles(blocks, 6) | _fifth_bits(blocks, 2)).sub_(16).mul_(_half(blocks, 0))


def _q5_1(blocks: Tensor, out: Tensor) -> None:
    out.copy_(_nibbles(blocks, 8) | _fifth_bits(blocks, 4)).mul_(_half(blocks, 0)).add_(_half(blocks, 2))


def _q8_0(blocks: Tensor, out: Tensor) -> None:
    out.copy_(blocks[:, 2:].view(torch.int8)).mul_(_half(blocks, 0))


def _k_scales(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Returns scale and offset of the eight parts of each block, float32 [N, 8, 1]; 6 bits each, packed from byte 4 on."""
    first, second, third = blocks[:, 4:16].view(-1, 3, 4).unbind(1)
    scales = torch.cat((first & 63, third & 15 | first >> 6 << 4), 1)
    offsets = torch.cat((second & 63, third >> 4 | second >> 6 << 4), 1)
    return (_half(blocks, 0) * scales)[..., None], (_half(blocks, 2) * offsets)[..., None]


def _k_nibbles(blocks: Tensor, start: int) -> Tensor:
    """Returns q [N, 8, 32] of the 128 bytes from `start` on: of 32 bytes, low halves are one part and high halves the next."""
    packed = blocks[:, start : start + 128].reshape(-1, 4, 1, 32)
    return torch.cat((packed & 15, packed >> 4), 2).view(-1, 8, 32)


def _q4_k(blocks: Tensor, out: Tensor) -> None:
    scales, offsets = _k_scales(blocks)
    out.view(-1, 8, 32).copy_(_k_nibbles(blocks, 16)).mul_(scales).sub_(offsets)


def _q5_k(blocks: Tensor, out: Tensor) -> None:
    scales, offsets = _k_scales(blocks)
    shifts = torch.arange(8, dtype=torch.uint8)[:, None]
    high = (blocks[:, None, 16:48] >> shifts & 1) << 4  # [N, 8, 32]: bit p belongs to part p
    out.view(-1, 8, 32).copy_(_k_nibbles(blocks, 48) | high).mul_(scales).sub_(offsets)


def _q6_k(blocks: Tensor, out: Tensor) -> None:
    """Reads two halves of 128 numbers: 64 bytes of low bits and 32 of high ones each; a scale for every 16 numbers."""
    low, high = blocks[:, :128].reshape(-1, 2, 2, 32), blocks[:, 128:192].reshape(-1, 2, 1, 32)
    four = torch.cat((low & 15, low >> 4), 2)  # [N, 2, 4, 32]
    two = high >> torch.tensor([0, 2, 4, 6], dtype=torch.uint8)[:, None] & 3
    scales = blocks[:, 192:208].view(torch.int8) * _half(blocks, 208)  # [N, 16]
    out.copy_((four | two << 4).flatten(1)).sub_(32).view(-1, 16, 16).mul_(scales[..., None])


def _plain(dtype: torch.dtype) -> Callable[[Tensor, Tensor], None]:
    def fill(blocks: Tensor, out: Tensor) -> None:
        out.copy_(blocks.view(dtype))

    return fill


def _int4(blocks: Tensor, out: Tensor) -> None:
    packed = blocks[:, 4:].reshape(len(blocks), -1, 16)
    codes = torch.cat((packed & 15, packed >> 4), 2).flatten(1)
    scale = _half(blocks, 0)
    out.copy_(codes).mul_(scale).sub_(scale * _half(blocks, 2))


def _single(blocks: Tensor) -> Tensor:
    """Returns the float32 number at the beginning of every block, [N, 1]."""
    return blocks[:, :4].contiguous().view(torch.float32)


def _int8(blocks: Tensor, out: Tensor) -> None:
    out.copy_(blocks[:, 4:].view(torch.int8)).mul_(_single(blocks))


def _float8(blocks: Tensor, out: Tensor) -> None:
    out.copy_(blocks[:, 4:].view(torch.float8_e4m3fn)).mul_(_single(blocks))


def _nf4(blocks: Tensor, out: Tensor) -> None:
    packed = blocks[:, 4:].reshape(len(blocks), 2, 16)
    codes = torch.cat((packed & 15, packed >> 4), 2).flatten(1)
    out.copy_(torch.tensor(NF4_NUMBERS)[codes.int()]).mul_(_single(blocks))


FILLS: dict[str, Callable[[Tensor, Tensor], None]] = {
    "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q8_0": _q8_0, "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k,
    "F32": _plain(torch.float32), "F16": _plain(torch.float16), "BF16": _plain(torch.bfloat16),
    "INT4_32": _int4, "INT4_128": _int4, "INT8_32": _int8, "INT8_128": _int8, "F8_E4M3_32": _float8, "F8_E4M3_128": _float8,
    "NF4": _nf4,
}  # fmt: skip
"""Type -> function from blocks [N, bytes] that writes float32 [N, numbers]."""
