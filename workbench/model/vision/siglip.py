"""SigLIP, as Gemma 3, LLaVA-OneVision and SmolVLM have it: patches with learned places, and none that stands for the whole."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from workbench.model.blocks import UngatedMLP
from workbench.model.layer import Layer
from workbench.model.layers import Embedding, LayerNorm
from workbench.model.vision.config import SiglipConfig
from workbench.model.vision.vit import PatchProduct, VitAttention, VitBlock


class SiglipTower(Layer):
    """Pictures of the size that the places are learned for: pixels [B, C, S, S] in, features of each patch [B, N, H] out."""

    def __init__(self, config: SiglipConfig, num_layers: int | None = None, normed: bool = True, joined: bool = False) -> None:
        """Computes the first `num_layers`, by default all, and the norm behind the last where the features are `normed`;
        `joined` as of `VitAttention`."""
        super().__init__()
        size, patch = config.hidden_size, config.patch_size
        norm = partial(LayerNorm, eps=config.layer_norm_eps)
        self.patch_size, self.side = patch, config.image_size // patch
        self.patch_embedding = PatchProduct(config.num_channels, (patch, patch), size)
        self.position_embedding = Embedding(self.side**2, size)
        self.layers = nn.ModuleList(
            VitBlock(
                size, VitAttention(size, config.num_attention_heads, joined=joined),
                UngatedMLP(size, config.intermediate_size, config.hidden_act), norm,
            )
            for _ in range(config.num_hidden_layers if num_layers is None else num_layers)
        )  # fmt: skip
        self.post_layernorm = norm(size) if normed else None

    def forward(self, pixels: Tensor) -> Tensor:  # [B, C, S, S] -> [B, N, H]
        patches = self.patch_embedding.of_pixels(pixels)
        x = patches.flatten(1, 2) + self.position_embedding(self.places(*patches.shape[1:3]).to(patches.device))
        return self.of_patches(x)

    def of_patches(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Returns the features of patches with their places [B, N, H]. Patches that are not `seen` [B, N] are no keys."""
        num_pictures, num_patches = x.shape[:2]
        flat = x.flatten(0, 1)
        for layer in self.layers:
            flat = layer(flat, [num_patches] * num_pictures, seen=None if seen is None else seen.flatten())
        return (flat if self.post_layernorm is None else self.post_layernorm(flat)).view_as(x)

    def places(self, rows: int, columns: int) -> Tensor:
        """Returns the row of the table of places for each patch of a picture [rows * columns].

        The table is of a square picture. One of fewer patches has every so many places of it.
        """
        by_row, by_column = (_buckets(count, self.side) for count in (rows, columns))
        return (by_row[:, None] * self.side + by_column).flatten()


def _buckets(count: int, side: int) -> Tensor:
    """Returns the place, out of `side`, of each of `count` patches in a line."""
    fractions = (torch.arange(count, dtype=torch.float32) / count).clamp(max=1 - 1e-6)
    return torch.bucketize(fractions, torch.arange(1 / side, 1.0, 1 / side), right=True)


NAMES = {
    "patch_embedding": "embeddings.patch_embedding",
    "position_embedding": "embeddings.position_embedding",
    **{f"layers.*.attn.{part}": f"encoder.layers.*.self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj")},
    "layers.*.attn.proj": "encoder.layers.*.self_attn.out_proj",
    "post_layernorm": "post_layernorm",
    "layers.*.norm1": "encoder.layers.*.layer_norm1",
    "layers.*.norm2": "encoder.layers.*.layer_norm2",
    "layers.*.mlp.up_proj": "encoder.layers.*.mlp.fc1",
    "layers.*.mlp.down_proj": "encoder.layers.*.mlp.fc2",
}
"""Our pattern below the tower -> the file's."""
