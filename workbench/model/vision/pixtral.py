"""The tower of Pixtral and Mistral Small 3.1: pictures of any size, whose patches are turned by their row and column."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from workbench.model.blocks import MLP
from workbench.model.layer import Layer
from workbench.model.layers import RMSNorm
from workbench.model.vision.config import PixtralConfig
from workbench.model.vision.grid import Grid, frame_lengths, places, turns
from workbench.model.vision.vit import PatchProduct, VitAttention, VitBlock


class PixtralTower(Layer):
    """Pixels [C, height, width] of each picture in, features of all patches [N, H] out, row by row."""

    def __init__(self, config: PixtralConfig, num_layers: int | None = None) -> None:
        """Computes the first `num_layers`, by default all."""
        super().__init__()
        size, patch = config.hidden_size, config.patch_size
        self.config = config
        self.patch_embedding = PatchProduct(config.num_channels, (patch, patch), size, bias=False)
        norm = partial(RMSNorm, eps=1e-5)
        self.norm = norm(size)
        self.layers = nn.ModuleList(
            VitBlock(
                size, VitAttention(size, config.num_attention_heads, bias=False, out_bias=False),
                MLP(size, config.intermediate_size, config.hidden_act), norm,
            )
            for _ in range(config.num_hidden_layers if num_layers is None else num_layers)
        )  # fmt: skip

    def grid(self, height: int, width: int) -> Grid:
        """Returns the grid of patches of a picture of these pixels."""
        return 1, height // self.config.patch_size, width // self.config.patch_size

    def forward(self, pictures: Sequence[Tensor]) -> Tensor:
        grids = [self.grid(*pixels.shape[1:]) for pixels in pictures]
        x = self.norm(torch.cat([self.patch_embedding.of_pixels(pixels[None]).flatten(0, 2) for pixels in pictures]))
        head_size = self.config.hidden_size // self.config.num_attention_heads
        at = places(grids).to(x.device)
        turn = turns(at, head_size, self.config.theta, interleaved=True, dtype=x.dtype)
        for layer in self.layers:
            x = layer(x, frame_lengths(grids), turn)
        return x


NAMES = {
    "patch_embedding": "patch_conv",
    "norm": "ln_pre",
    **{f"layers.*.attn.{part}": f"transformer.layers.*.attention.{part}" for part in ("q_proj", "k_proj", "v_proj")},
    "layers.*.attn.proj": "transformer.layers.*.attention.o_proj",
    "layers.*.norm1": "transformer.layers.*.attention_norm",
    "layers.*.norm2": "transformer.layers.*.ffn_norm",
    **{f"layers.*.mlp.{part}": f"transformer.layers.*.feed_forward.{part}" for part in ("gate_proj", "up_proj", "down_proj")},
}
"""Our pattern below the tower -> the file's."""
