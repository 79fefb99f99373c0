"""LLaVA 1.5: CLIP's patches through two linear layers, in the place of tokens. `llava_pixtral.py` declares the family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from workbench.errors import ModelCorrupt, ModelUnsupported, shown
from workbench.model.base import CausalLM
from workbench.model.config import Activation
from workbench.model.layer import Layer
from workbench.model.layers import ACTIVATIONS, LayerNorm
from workbench.model.linear import Linear
from workbench.model.seeing import Seeing, SeeingKeys, tower_config
from workbench.model.vision import clip, siglip
from workbench.model.vision.clip import ClipConfig, ClipTower
from workbench.model.vision.config import SiglipConfig, layer_of
from workbench.model.vision.siglip import SiglipTower
from workbench.pictures.llava_words import NORMED

USUAL_TOWER = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336,
    "patch_size": 14,
}  # fmt: skip
"""The tower that transformers supposes where config.json has no `vision_config`."""
TOWERS = ("vision_tower.", "vision_tower.vision_model.", "model.vision_tower.", "model.vision_tower.vision_model.")
TOWER = {f"vision_tower.{name}": stored for name, stored in (clip.NAMES | siglip.NAMES).items()}
NORM_EPS = 1e-5
UNUSED = r"vision_tower\.(vision_model\.)?(post_layernorm|head)\.|\.position_ids$"
"""Tensors that no layer reads: those behind the layer whose features are taken."""


@dataclass(frozen=True, kw_only=True)
class LlavaKeys(SeeingKeys):
    image_token_index: int | None = None
    image_token_id: int | None = None
    """Token of pictures, under one of two names; it is read by `workbench.pictures`."""
    projector_hidden_act: Activation = "gelu"
    multimodal_projector_bias: bool = True
    vision_feature_layer: int | list[int] = -2
    """Layers of the tower whose features are taken, side by side; below 0 they count from its end."""
    vision_feature_select_strategy: Literal["default", "full"] = "default"
    """default: the first vector of the tower is left out; full: it is not."""


class Projector(Layer):
    """Two linear layers from the tower's width to the text's, each with a norm behind it where it `is_normed`."""

    def __init__(self, in_size: int, out_size: int, activation: Activation, bias: bool, is_normed: bool = False) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = Linear(in_size, out_size, bias), Linear(out_size, out_size, bias)
        self.norm_1, self.norm_2 = (LayerNorm(out_size, NORM_EPS) if is_normed else None for _ in range(2))
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        if self.norm_1 is None or self.norm_2 is None:
            return self.linear_2(self.activation(self.linear_1(x)))
        return self.norm_2(self.linear_2(self.activation(self.norm_1(self.linear_1(x)))))


class LlavaForConditionalGeneration(Seeing):
    def __init__(self, config: Any, text: CausalLM) -> None:
        super().__init__(text)
        tower = self.tower_config = tower_of(config)
        self.square = tower.image_size
        layers = feature_layers(config)
        self.is_cut = config.vision_feature_select_strategy == "default"
        self.vision_tower: ClipTower | SiglipTower
        if isinstance(tower, ClipConfig):
            self.vision_tower = ClipTower(tower, layers)
        elif len(layers) == 1:
            self.vision_tower = SiglipTower(tower, layers[0], normed=False)
        else:
            raise ModelUnsupported(
                f"config.json takes features of several layers of SigLIP: {shown(config.vision_feature_layer)}"
            )
        width = tower.hidden_size * len(layers)
        self.multi_modal_projector = Projector(
            width, config.hidden_size, config.projector_hidden_act, config.multimodal_projector_bias,
            is_normed=getattr(config, "mm_projector_type", None) == NORMED,
        )  # fmt: skip

    def see(self, **arrays: Tensor) -> Tensor:
        """Returns the vectors of one picture: `pixels` [1, C, S, S] -> [num_tokens, H]."""
        return self.features(arrays["pixels"]).flatten(0, 1)

    def features(self, pixels: Tensor) -> Tensor:
        """Returns the vectors of each square [B, C, S, S] -> [B, N, H]."""
        seen = self.vision_tower(pixels.to(self.dtype))
        out: Tensor = self.multi_modal_projector(seen[:, 1:] if self.is_cut else seen)
        return out


def tower_of(config: Any) -> ClipConfig | SiglipConfig:
    """Returns the typed `vision_config`. Raises ModelUnsupported for another tower than CLIP and SigLIP."""
    values = {key: value for key, value in config.vision_config.items() if key != "model_type"}
    kind = config.vision_config.get("model_type", "clip_vision_model")
    if kind == "clip_vision_model":
        return tower_config(ClipConfig, values or USUAL_TOWER)
    if kind == "siglip_vision_model":
        return tower_config(SiglipConfig, values)
    message = f"config.json has a vision_config of model_type {shown(kind)}, which this family does not compute here"
    raise ModelUnsupported(message, hint="towers that run: clip_vision_model, siglip_vision_model")


def feature_layers(config: Any) -> list[int]:
    """Returns the layers of the tower whose features are taken, from its beginning; 0 is in front of the first."""
    stated = config.vision_feature_layer
    count = tower_of(config).num_hidden_layers
    layers = stated if isinstance(stated, list) else [stated]
    if not layers:
        raise ModelCorrupt("config.json has vision_feature_layer = [], it must name a layer", hint="is it the one of this model?")
    return [layer_of(at, count, "vision_feature_layer") for at in layers]


def unused_layers(config: Any) -> str:
    """Returns the names of the tower's layers behind those that are taken."""
    last = range(max(feature_layers(config)), tower_of(config).num_hidden_layers)
    return rf"vision_tower\..*encoder\.layers\.({'|'.join(map(str, last))})\." if last else r"(?!)"
