"""CLIP, as the LLaVA models have it: patches with learned places behind a vector that stands for the whole picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from workbench.checkpoint.weights import Weights
from workbench.model.blocks import UngatedMLP
from workbench.model.config import Activation
from workbench.model.layer import Layer
from workbench.model.layers import Embedding, LayerNorm
from workbench.model.vision import siglip
from workbench.model.vision.config import SquareConfig
from workbench.model.vision.vit import PatchProduct, VitAttention, VitBlock


@dataclass(frozen=True, kw_only=True)
class ClipConfig(SquareConfig):
    patch_size: int = 32
    hidden_act: Activation = "quick_gelu"
    layer_norm_eps: float = 1e-5


class ClipTower(Layer):
    """Pixels [B, C, S, S] in, features of the whole and of each patch [B, 1 + N, H] out."""

    def __init__(self, config: ClipConfig, layers: Sequence[int]) -> None:
        """Returns the features behind each of these layers side by side; 0 is in front of the first. Later ones are not made."""
        super().__init__()
        size, patch = config.hidden_size, config.patch_size
        norm = partial(LayerNorm, eps=config.layer_norm_eps)
        self.kept, self.size = tuple(layers), size
        self.patch_embedding = PatchProduct(config.num_channels, (patch, patch), size, bias=False)
        self.position_embedding = Embedding((config.image_size // patch) ** 2 + 1, size)
        self.pre_layernorm = norm(size)
        self.layers = nn.ModuleList(
            VitBlock(
                size, VitAttention(size, config.num_attention_heads),
                UngatedMLP(size, config.intermediate_size, config.hidden_act), norm,
            )
            for _ in range(max(layers))
        )  # fmt: skip

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.class_embedding = weights.tensor("class_embedding", self.size)
        self.num_bytes = self.class_embedding.nbytes

    def forward(self, pixels: Tensor) -> Tensor:  # [B, C, S, S] -> [B, 1 + N, H * number of kept layers]
        patches = self.patch_embedding.of_pixels(pixels).flatten(1, 2)
        whole = self.class_embedding.expand(len(patches), 1, -1)
        x = torch.cat((whole, patches), 1)
        x = self.pre_layernorm(x + self.position_embedding(torch.arange(x.shape[1], device=x.device)))
        shape, lengths = x.shape, [x.shape[1]] * len(x)
        states = [x.flatten(0, 1)]
        for layer in self.layers:
            states.append(layer(states[-1], lengths))
        return torch.cat([states[at].view(shape) for at in self.kept], -1)


NAMES = siglip.NAMES | {"class_embedding": "embeddings.class_embedding", "pre_layernorm": "pre_layrnorm"}
"""Our pattern below the tower -> the file's."""
