"""LLaVA 1.5 and Pixtral, which is saved under the same architecture: patches of pictures of any size, in rows of tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from workbench.errors import ModelUnsupported, shown
from workbench.model.base import CausalLM
from workbench.model.families import llava, mistral3
from workbench.model.families.llava import TOWER, TOWERS, UNUSED, LlavaForConditionalGeneration, LlavaKeys, Projector
from workbench.model.seeing import Seeing, seeing
from workbench.model.vision import pixtral
from workbench.model.vision.pixtral import PixtralTower


class Pixtral(Seeing):
    def __init__(self, config: Any, text: CausalLM) -> None:
        super().__init__(text)
        if config.vision_feature_select_strategy != "full" or isinstance(config.vision_feature_layer, list):
            stated = shown(config.vision_feature_select_strategy), shown(config.vision_feature_layer)
            message = "config.json has vision_feature_select_strategy = {} and vision_feature_layer = {} for Pixtral's tower"
            raise ModelUnsupported(message.format(*stated), hint='computed: "full", and one layer')
        tower = mistral3.tower_of(config)
        self.pixtral_tower = PixtralTower(tower, mistral3.feature_layer(config, tower))
        self.multi_modal_projector = Projector(
            tower.hidden_size, config.hidden_size, config.projector_hidden_act, config.multimodal_projector_bias
        )

    def see(self, **arrays: Tensor) -> Tensor:
        """Returns the vectors of one picture: `pixels` [C, height, width] -> [num_tokens, H]."""
        out: Tensor = self.multi_modal_projector(self.pixtral_tower([arrays["pixels"]]))
        return out


def _is_pixtral(config: Any) -> bool:
    return bool(config.vision_config.get("model_type") == "pixtral")


def _made(config: Any, text: CausalLM) -> Seeing:
    return (Pixtral if _is_pixtral(config) else LlavaForConditionalGeneration)(config, text)


def _unused_layers(config: Any) -> str:
    return mistral3.unused_layers(config) if _is_pixtral(config) else llava.unused_layers(config)


FAMILY = seeing(
    LlavaKeys, _made, names=TOWER | {f"pixtral_tower.{ours}": stored for ours, stored in pixtral.NAMES.items()}, prefixes=TOWERS,
    leftovers=UNUSED, more_leftovers=_unused_layers,
)  # fmt: skip
