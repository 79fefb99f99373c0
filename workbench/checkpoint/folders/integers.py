"""Whole numbers packed in words of 32 bits: the layouts of GPTQ, AWQ and compressed-tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.checkpoint.folders.parts import HINT, Matrix, Parts
from workbench.checkpoint.packing import Scaled, unpacked
from workbench.errors import ModelCorrupt

AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Place in a word of each of eight columns."""


def gptq(parts: Parts, zero_offset: int) -> Matrix:
    """Describes `qweight` [in * bits / 32, out], packed along a column, with `scales` and `qzeros` for each group of rows.

    Zero points are stored less `zero_offset`: 1 in the first format of the files, 0 in the second.
    """
    (num_groups, num_out), num_words = parts.shape("scales"), parts.shape("qweight")[0]
    bits = _bits(parts, parts.shape("qzeros")[1] * 32, num_out)
    width = num_words * 32 // bits
    parts.expect("qweight", (num_words, num_out))
    parts.expect("qzeros", (num_groups, num_out * bits // 32))
    group_len = parts.group_len(width, num_groups)
    columns = parts.columns("g_idx", num_groups, group_len)
    scale = parts.scale("scales").T.contiguous()

    def read() -> Scaled:
        codes = unpacked(parts.get("qweight").T, bits)
        zero = unpacked(parts.get("qzeros"), bits).T.float() + zero_offset
        if columns is not None:
            codes = codes[:, columns]
        return _scaled(codes, scale, group_len, zero, columns)

    return Matrix((num_out, width), f"{bits} bits", read)


def awq(parts: Parts) -> Matrix:
    """Describes `qweight` [in, out / 8], packed along a row in an order of its own, with `scales` and `qzeros`."""
    (num_groups, num_out), (width, num_words) = parts.shape("scales"), parts.shape("qweight")
    bits = _bits(parts, num_words * 32, num_out)
    parts.expect("qzeros", (num_groups, num_words))
    group_len = parts.group_len(width, num_groups)
    scale = parts.scale("scales").T.contiguous()

    def columns_of(leaf: str) -> Tensor:
        by_place = unpacked(parts.get(leaf), bits)
        return by_place.view(len(by_place), -1, 8)[..., AWQ_ORDER].flatten(1).T.contiguous()

    def read() -> Scaled:
        return _scaled(columns_of("qweight"), scale, group_len, columns_of("qzeros").float(), None)

    return Matrix((num_out, width), f"{bits} bits", read)


def compressed(parts: Parts) -> Matrix:
    """Describes `weight_packed` [out, in * bits / 32], packed along a row, with `weight_scale` [out, groups]."""
    num_out, width = (int(size) for size in parts.get("weight_shape"))
    num_words = parts.shape("weight_packed")[1]
    bits = next((bits for bits in (2, 4, 8) if -(-width // (32 // bits)) == num_words), 0)
    if not bits:
        raise ModelCorrupt(f"{parts.stem}.weight_packed has {num_words} words for rows of {width} numbers", hint=HINT)
    parts.expect("weight_packed", (num_out, num_words))
    scale = parts.scale("weight_scale").view(num_out, -1)
    group_len = parts.group_len(width, scale.shape[1])
    columns = parts.columns("weight_g_idx", scale.shape[1], group_len)

    def read() -> Scaled:
        codes = unpacked(parts.get("weight_packed"), bits)[:, :width]
        middle = torch.full_like(scale, 1 << (bits - 1))
        if parts.has("weight_zero_point"):
            middle = unpacked(parts.get("weight_zero_point").T, bits).T[:num_out].float()
        if columns is not None:
            codes = codes[:, columns]
        return _scaled(codes, scale, group_len, middle, columns)

    if parts.has("weight_zero_point"):
        parts.expect("weight_zero_point", (-(-num_out * bits // 32), scale.shape[1]))
    return Matrix((num_out, width), f"{bits} bits", read)


def _bits(parts: Parts, num_bits: int, num: int) -> int:
    """Returns the bits of a number, of `num` numbers in `num_bits` bits."""
    if num < 1 or num_bits % num or num_bits // num not in (2, 3, 4, 8):
        raise ModelCorrupt(f"{parts.stem} has words of {num_bits} bits for {num} outputs: no 2, 3, 4 or 8 bits each", hint=HINT)
    return num_bits // num


def _scaled(codes: Tensor, scale: Tensor, group_len: int, zero: Tensor, columns: Tensor | None) -> Scaled:
    if int(codes.max()) > 15:  # of 8 bits: with a sign, as they are multiplied
        codes, zero = (codes ^ 128).view(torch.int8), zero - 128
    return Scaled(codes.contiguous(), scale, group_len, zero, columns)
