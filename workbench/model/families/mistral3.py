"""Mistral Small 3.1 with pictures: Pixtral's patches of pictures of any size, four of which become one token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from workbench.errors import ModelUnsupported
from workbench.model.base import CausalLM
from workbench.model.config import Activation
from workbench.model.layer import Layer
from workbench.model.layers import ACTIVATIONS, RMSNorm
from workbench.model.linear import Linear
from workbench.model.seeing import Seeing, SeeingKeys, seeing, tower_config
from workbench.model.vision import pixtral
from workbench.model.vision.config import PixtralConfig, layer_of
from workbench.model.vision.grid import shuffled
from workbench.model.vision.pixtral import PixtralTower


@dataclass(frozen=True, kw_only=True)
class Mistral3Keys(SeeingKeys):
    image_token_index: int | None = None
    image_token_id: int | None = None
    projector_hidden_act: Activation = "gelu"
    multimodal_projector_bias: bool = False
    spatial_merge_size: int = 2
    """Patches of a token's side."""
    vision_feature_layer: int = -1
    """Layer of the tower whose features are taken; below 0 it counts from the end."""


class Projector(Layer):
    """Normed patches, those of a token through one matrix, and two linear layers to the text's width."""

    def __init__(self, size: int, config: Any) -> None:
        super().__init__()
        self.merge, out_size, bias = config.spatial_merge_size, config.hidden_size, config.multimodal_projector_bias
        self.norm = RMSNorm(size, config.rms_norm_eps)
        self.merging_layer = Linear(size * self.merge**2, size)
        self.linear_1, self.linear_2 = Linear(size, out_size, bias), Linear(out_size, out_size, bias)
        self.activation = ACTIVATIONS[config.projector_hidden_act]

    def forward(self, x: Tensor, rows: int, columns: int) -> Tensor:  # [rows * columns, H] -> [rows * columns / merge^2, out]
        cells = shuffled(self.norm(x)[None], rows, columns, self.merge)[0]
        # The file's matrix takes the first numbers of all patches first.
        by_number = cells.unflatten(-1, (self.merge**2, -1)).transpose(1, 2).flatten(1)
        return self.linear_2(self.activation(self.linear_1(self.merging_layer(by_number))))


class Mistral3ForConditionalGeneration(Seeing):
    def __init__(self, config: Any, text: CausalLM) -> None:
        super().__init__(text)
        tower = tower_of(config)
        self.vision_tower = PixtralTower(tower, feature_layer(config, tower))
        self.multi_modal_projector = Projector(tower.hidden_size, config)

    def see(self, **arrays: Tensor) -> Tensor:
        """Returns the vectors of one picture: `pixels` [C, height, width] -> [num_tokens, H]."""
        pixels = arrays["pixels"]
        _, rows, columns = self.vision_tower.grid(*pixels.shape[1:])
        out: Tensor = self.multi_modal_projector(self.vision_tower([pixels]), rows, columns)
        return out


def tower_of(config: Any) -> PixtralConfig:
    """Returns the typed `vision_config`. Raises ModelUnsupported for another tower than Pixtral's."""
    values = {key: value for key, value in config.vision_config.items() if key not in ("model_type", "head_dim")}
    kind = config.vision_config.get("model_type", "pixtral")
    if kind != "pixtral":
        raise ModelUnsupported(f"config.json has a vision_config of model_type {kind!r}", hint="towers that run: pixtral")
    tower = tower_config(PixtralConfig, values)
    stated = config.vision_config.get("head_dim")
    if stated is not None and stated * tower.num_attention_heads != tower.hidden_size:
        raise ModelUnsupported(f"config.json has vision_config.head_dim = {stated}, and {tower.num_attention_heads} heads")
    return tower


def feature_layer(config: Any, tower: PixtralConfig) -> int:
    """Returns the number of the tower's layers that are computed."""
    return layer_of(config.vision_feature_layer, tower.num_hidden_layers, "vision_feature_layer")


def unused_layers(config: Any) -> str:
    """Returns the names of the tower's layers behind the one that is taken."""
    tower = tower_of(config)
    last = range(feature_layer(config, tower), tower.num_hidden_layers)
    return rf"vision_tower\.transformer\.layers\.({'|'.join(map(str, last))})\." if last else r"(?!)"


FAMILY = seeing(
    Mistral3Keys, Mistral3ForConditionalGeneration, text_type="mistral",
    names={f"vision_tower.{ours}": stored for ours, stored in pixtral.NAMES.items()}
    | {"multi_modal_projector.merging_layer": "multi_modal_projector.patch_merger.merging_layer"},
    prefixes=("vision_tower.", "model.vision_tower."), more_leftovers=unused_layers,
)  # fmt: skip
