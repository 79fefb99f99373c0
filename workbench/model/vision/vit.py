"""The parts that most vision towers are made of: patches, blocks, and attention within stretches of patches.

Size letters: N patches of all pictures in one flat row, H numbers of a patch, C colours, P pixels of a patch's side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.checkpoint.weights import Weights
from workbench.errors import ModelCorrupt
from workbench.kernels.ops import Norm
from workbench.model.layer import Layer
from workbench.model.layers import AnyNorm
from workbench.model.linear import FusedLinear, Linear
from workbench.model.rotary import Turn, rotate_part


class PatchProduct(Linear):
    """One matrix times each patch: a convolution whose step is its size. Its weight is [H, C, *sizes] in files."""

    def __init__(self, num_channels: int, sizes: tuple[int, ...], hidden_size: int, bias: bool = True) -> None:
        """Takes patches of `sizes`: height and width, before them the number of frames where a patch has several."""
        self.sizes = (num_channels, *sizes)
        super().__init__(torch.Size(self.sizes).numel(), hidden_size, bias)

    def load(self, weights: Weights) -> None:
        self.dtype = weights.dtype
        weight = weights.tensor("weight", self.out_features, *self.sizes).flatten(1)
        self.hold([weight], weights.dtype, weights.tensor("bias", self.out_features) if self.has_bias else None)

    def forward(self, x: Tensor, norm: Norm | None = None, added: Tensor | None = None) -> Tensor:
        """Returns the products of patches x [..., C * sizes], whose numbers may be of another type than the weights'."""
        return super().forward(x.to(self.dtype), norm, added)

    def of_pixels(self, pixels: Tensor) -> Tensor:
        """Returns the patches of pictures: [B, C, height, width] -> [B, rows, columns, H]. A rest at the edges is left out."""
        return self(cut_into_patches(pixels, *self.sizes[-2:]))


def cut_into_patches(pixels: Tensor, height: int, width: int) -> Tensor:
    """Returns the pixels of each patch: [B, C, ...] -> [B, rows, columns, C * height * width]."""
    rows, columns = pixels.shape[-2] // height, pixels.shape[-1] // width
    whole = pixels[..., : rows * height, : columns * width]
    parts = whole.unflatten(-1, (columns, width)).unflatten(-3, (rows, height))  # [B, C, rows, P, columns, P]
    return parts.permute(0, 2, 4, 1, 3, 5).flatten(3)


def attend_within(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], seen: Tensor | None = None) -> Tensor:
    """Returns attention [N, heads, D] of rows that stand in stretches of `lengths`: each row sees its whole stretch, or the rows
    of it that are `seen`, bool [N]."""
    out, start = torch.empty_like(v), 0
    for length, alike in groupby(lengths):
        count = len(list(alike))
        rows = slice(start, start + count * length)
        query, key, value = (x[rows].unflatten(0, (count, length)).transpose(1, 2) for x in (q, k, v))
        mask = None if seen is None else seen[rows].view(count, 1, 1, length)
        out[rows] = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(0, 1)
        start = rows.stop
    return out


class VitAttention(Layer):
    """Attention among the patches of a stretch, with as many key and value heads as queries have."""

    def __init__(
        self, hidden_size: int, num_heads: int, *, bias: bool = True, out_bias: bool = True, joined: bool = False
    ) -> None:
        """Makes the projections; `joined` where a file holds those of queries, keys and values as one tensor `qkv`."""
        super().__init__()
        if num_heads < 1 or hidden_size % num_heads:
            message = f"config.json has {num_heads} attention heads for the {hidden_size} numbers of a tower's patch"
            raise ModelCorrupt(message, hint="is vision_config that of this model?")
        self.num_heads = num_heads
        parts = dict.fromkeys(("q_proj", "k_proj", "v_proj"), hidden_size)
        self.qkv = Linear(hidden_size, 3 * hidden_size, bias) if joined else FusedLinear(hidden_size, parts, bias)
        self.proj = Linear(hidden_size, hidden_size, out_bias)

    def forward(
        self, x: Tensor, lengths: Sequence[int], turn: Turn | None = None, seen: Tensor | None = None
    ) -> Tensor:  # [N, H] -> [N, H]
        heads = self.qkv(x).unflatten(-1, (3 * self.num_heads, -1))
        q, k = rotate_part(heads[:, : 2 * self.num_heads], turn).chunk(2, 1)
        return self.proj(attend_within(q, k, heads[:, 2 * self.num_heads :], lengths, seen).flatten(1))


class VitBlock(Layer):
    """x + attention(norm(x)), then x + mlp(norm(x)). Its parts are called as in most towers; names of files map to these."""

    def __init__(self, hidden_size: int, attention: VitAttention, mlp: Layer, norm: Callable[[int], AnyNorm]) -> None:
        """Makes the norms by `norm`, from a size."""
        super().__init__()
        self.norm1, self.norm2 = norm(hidden_size), norm(hidden_size)
        self.attn, self.mlp = attention, mlp

    def forward(
        self, x: Tensor, lengths: Sequence[int], turn: Turn | None = None, seen: Tensor | None = None
    ) -> Tensor:  # [N, H] -> [N, H]
        x = x + self.attn(self.norm1(x), lengths, turn, seen)
        out: Tensor = self.mlp(x, self.norm2, added=x)
        return out
