"""Matrices stored as one code for each number: int8 and float8 with scales beside them, and bitsandbytes' tables of four bits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from workbench.checkpoint.base import Blocks
from workbench.checkpoint.block_types import NF4_NUMBERS
from workbench.checkpoint.folders.parts import HINT, Matrix, Parts
from workbench.checkpoint.packing import Scaled, pack, two_a_byte
from workbench.errors import ModelCorrupt

SCALES = ("weight_scale", "weight_scale_inv", "SCB")
"""Leaves of the scales; that of bitsandbytes is the largest number of a row."""
STATE = "weight.quant_state.bitsandbytes__"


def scaled(parts: Parts, block: Sequence[int]) -> Matrix:
    """Describes `weight` [out, in] of int8 or float8. A scale is for all, a row, a group, or a `block` of [rows, columns]."""
    num_out, width = parts.shape("weight")
    kind = parts.checkpoint.tensors[f"{parts.stem}.weight"].type
    leaf = next((leaf for leaf in SCALES if parts.has(leaf)), None)
    if leaf is None:
        raise ModelCorrupt(
            f"{parts.stem}.weight is stored as {kind}, and no scale of it is there ({', '.join(SCALES)})", hint=HINT
        )
    scale = parts.scale(leaf) / (127 if leaf == "SCB" else 1)
    scale, group_len = _spread(parts, leaf, scale, num_out, width, block)
    if parts.has("weight_zero_point"):
        parts.shape("weight_zero_point")

    def read() -> Scaled:
        codes = parts.get("weight")
        if codes.dtype == torch.float8_e4m3fn and bool((codes.view(torch.uint8) & 127 == 127).any()):
            raise ModelCorrupt(f"{parts.stem}.weight holds numbers that are NaN", hint=HINT)
        zero = None
        if parts.has("weight_zero_point"):
            zero = parts.get("weight_zero_point").float().view(len(scale) if scale.numel() > 1 else 1, -1).expand_as(scale)
        return Scaled(codes, scale, group_len, zero)

    return Matrix((num_out, width), kind, read)


def _spread(parts: Parts, leaf: str, scale: Tensor, num_out: int, width: int, block: Sequence[int]) -> tuple[Tensor, int]:
    """Returns the scales as [out, groups], and the length of a group."""
    if scale.numel() == 1:
        return scale.reshape(1, 1).expand(num_out, 1), width
    if scale.shape in ((num_out,), (num_out, 1)):
        return scale.view(num_out, 1), width
    if scale.ndim == 2 and len(scale) == num_out:
        return scale, parts.group_len(width, scale.shape[1])
    if len(block) == 2 and scale.shape == (-(-num_out // block[0]), -(-width // block[1])):
        return scale.repeat_interleave(block[0], 0)[:num_out], block[1]
    wanted = f"one, {num_out} of rows, or of blocks of {list(block)}" if block else f"one, or {num_out} of rows"
    raise ModelCorrupt(f"{parts.stem}.{leaf} is {list(scale.shape)}, and {wanted} would fit", hint=HINT)


def bitsandbytes(parts: Parts) -> Matrix:
    """Describes `weight` of two codes a byte, each a place in `weight.quant_map`, with a scale `weight.absmax` for some of them.

    The scales may be codes themselves, of `weight.nested_quant_map`, with scales `weight.nested_absmax`.
    """
    state_leaf = next((f"{STATE}{kind}" for kind in ("nf4", "fp4") if parts.has(f"{STATE}{kind}")), f"{STATE}nf4")
    try:
        state = json.loads(bytes(parts.get(state_leaf).tolist()))
        shape, block_len = tuple(int(size) for size in state["shape"]), int(state["blocksize"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(f"{parts.stem}.{state_leaf} is damaged: {error}", hint=HINT) from None
    num_codes = prod(parts.shape("weight")) * 2
    if len(shape) != 2 or prod(shape) != num_codes or block_len < 1 or num_codes % block_len:
        raise ModelCorrupt(f"{parts.stem}.weight holds {num_codes} codes for {list(shape)} in blocks of {block_len}", hint=HINT)
    numbers = parts.scale("weight.quant_map")
    scale = _absmax(parts, state)
    if scale.numel() != num_codes // block_len or numbers.numel() != 16:
        raise ModelCorrupt(f"{parts.stem} has {scale.numel()} scales for {num_codes // block_len} blocks", hint=HINT)

    def read() -> Blocks | Tensor:
        packed = parts.get("weight").flatten()
        codes = torch.stack((packed >> 4, packed & 15), -1).view(shape)
        if shape[1] % 64 == 0 and block_len % 64 == 0 and torch.equal(numbers, torch.tensor(NF4_NUMBERS)):
            by_block = scale.repeat_interleave(block_len // 64).view(shape[0], -1)
            return pack("NF4", by_block, two_a_byte(codes), shape)
        return (numbers[codes.int()].view(-1, block_len) * scale[:, None]).view(shape)

    return Matrix((shape[0], shape[1]), "4 bits of a table", read)


def _absmax(parts: Parts, state: dict[str, object]) -> Tensor:
    if not parts.has("weight.nested_absmax"):
        return parts.scale("weight.absmax").flatten()
    codes, outer = parts.get("weight.absmax").flatten(), parts.scale("weight.nested_absmax").flatten()
    each = state.get("nested_blocksize", 256)
    assert isinstance(each, int)
    numbers = parts.scale("weight.nested_quant_map")[codes.int()]
    offset = state.get("nested_offset", 0.0)
    assert isinstance(offset, float | int)
    return numbers * outer.repeat_interleave(each)[: len(codes)] + offset
