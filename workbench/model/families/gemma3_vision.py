"""Gemma 3 with pictures: SigLIP's patches, averaged to a fixed number, whose tokens see each other in both directions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from workbench.checkpoint.weights import Weights
from workbench.errors import ModelCorrupt
from workbench.model.base import CausalLM
from workbench.model.families.llava import TOWER, TOWERS
from workbench.model.layer import Layer
from workbench.model.layers import RMSNorm
from workbench.model.linear import Linear
from workbench.model.seeing import Seeing, SeeingKeys, seeing, tower_config
from workbench.model.vision.config import SiglipConfig
from workbench.model.vision.siglip import SiglipTower


@dataclass(frozen=True, kw_only=True)
class Gemma3Keys(SeeingKeys):
    mm_tokens_per_image: int = 256
    """Tokens of a picture, a square number."""
    boi_token_index: int = 255_999
    eoi_token_index: int = 256_000
    image_token_index: int = 262_144
    boi_token_id: int | None = None
    eoi_token_id: int | None = None
    image_token_id: int | None = None


class Projector(Layer):
    """The averages of squares of patches, normed, times one matrix."""

    def __init__(self, tower: SiglipConfig, num_tokens: int, out_size: int) -> None:
        super().__init__()
        self.side, kept = tower.image_size // tower.patch_size, math.isqrt(num_tokens)
        if kept**2 != num_tokens or kept > self.side:
            raise ModelCorrupt(f"config.json has mm_tokens_per_image = {num_tokens} of {self.side} * {self.side} patches")
        self.step = self.side // kept
        self.mm_soft_emb_norm = RMSNorm(tower.hidden_size, tower.layer_norm_eps, offset=1.0)
        self.product = Linear(tower.hidden_size, out_size)

    def load(self, weights: Weights) -> None:
        """Changes: reads the norm and the matrix, which a file has as [in, out]."""
        self.mm_soft_emb_norm.load(weights.at("mm_soft_emb_norm"))
        stored = weights.tensor("mm_input_projection_weight", self.product.in_features, self.product.out_features)
        self.product.hold([stored.T.contiguous()], weights.dtype)

    def forward(self, x: Tensor) -> Tensor:  # [B, N, H] -> [B, num_tokens, out]
        square = x.transpose(1, 2).unflatten(2, (self.side, self.side))
        pooled = F.avg_pool2d(square, self.step).flatten(2).transpose(1, 2)
        return self.product(self.mm_soft_emb_norm(pooled))


class Gemma3ForConditionalGeneration(Seeing):
    def __init__(self, config: Any, text: CausalLM) -> None:
        super().__init__(text)
        values = {key: value for key, value in config.vision_config.items() if key != "model_type"}
        tower = tower_config(SiglipConfig, values)
        self.vision_tower, self.square = SiglipTower(tower), tower.image_size
        self.multi_modal_projector = Projector(tower, config.mm_tokens_per_image, config.hidden_size)

    def see(self, **arrays: Tensor) -> Tensor:
        """Returns the vectors of a picture: `pixels` [1, C, S, S] -> [mm_tokens_per_image, H]."""
        out: Tensor = self.multi_modal_projector(self.vision_tower(arrays["pixels"]))
        return out.flatten(0, 1)


FAMILY = seeing(
    Gemma3Keys, Gemma3ForConditionalGeneration, text_type="gemma3_text",
    names=TOWER, prefixes=TOWERS, leftovers=r"\.vision_model\.head\.|\.position_ids$",
)  # fmt: skip
