"""SmolVLM and Idefics 3: tiles of SigLIP's patches, so many of which become one token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from workbench.errors import ModelCorrupt
from workbench.model.base import CausalLM
from workbench.model.families.llava import TOWER
from workbench.model.linear import Linear
from workbench.model.seeing import Seeing, SeeingKeys, seeing, tower_config
from workbench.model.vision.config import SiglipConfig
from workbench.model.vision.grid import shuffled
from workbench.model.vision.siglip import SiglipTower


@dataclass(frozen=True, kw_only=True)
class IdeficsTower(SiglipConfig):
    hidden_size: int = 1152
    num_attention_heads: int = 16
    patch_size: int = 32


@dataclass(frozen=True, kw_only=True)
class IdeficsKeys(SeeingKeys):
    image_token_id: int = 128_257
    scale_factor: int = 2
    """Patches of a token's side."""
    rms_norm_eps: float = 1e-5
    pixel_shuffle_factor: int | None = None
    """Copy of `scale_factor`, as published files have it in `text_config`."""
    perceiver_config: dict[str, Any] | None = None
    """Sizes of a part that other models of the authors have."""
    neftune_noise_alpha: float = 0.0
    """Noise of training."""
    _flash_attn_2_enabled: bool = True


class Idefics3ForConditionalGeneration(Seeing):
    def __init__(self, config: Any, text: CausalLM) -> None:
        super().__init__(text)
        values = {key: value for key, value in config.vision_config.items() if key != "model_type"}
        tower = tower_config(IdeficsTower, values, ("max_image_size", "size", "use_base_siglip"))
        side = tower.image_size // tower.patch_size
        if side % config.scale_factor:
            raise ModelCorrupt(f"config.json has scale_factor = {config.scale_factor} for {side} patches of a picture's side")
        self.factor = config.scale_factor
        self.vision_tower = SiglipTower(tower)
        self.connector = Linear(tower.hidden_size * self.factor**2, config.hidden_size)

    def see(self, **arrays: Tensor) -> Tensor:
        """Returns the vectors of a picture's tiles, one after the other: `pixels` [tiles, C, S, S] -> [num_tokens, H]."""
        pixels = arrays["pixels"]
        rows, columns = (size // self.vision_tower.patch_size for size in pixels.shape[2:])
        return self.connector(shuffled(self.vision_tower(pixels), rows, columns, self.factor)).flatten(0, 1)


FAMILY = seeing(
    IdeficsKeys, Idefics3ForConditionalGeneration, names=TOWER | {"connector": "connector.modality_projection.proj"},
    prefixes=("model.text_model.", "model.vision_model.", "text_model.", "vision_model."), leftovers=r"\.position_ids$",
)  # fmt: skip
