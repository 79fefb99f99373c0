"""Phi-3-Vision and 3.5: CLIP's patches of tiles in rows and of the whole, with learned vectors between, before Phi-3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.checkpoint.weights import Weights
from workbench.errors import ModelCorrupt, ModelUnsupported, shown
from workbench.model.base import CausalLM
from workbench.model.families.llava import USUAL_TOWER, Projector
from workbench.model.seeing import Seeing, SeeingKeys, seeing, tower_config
from workbench.model.vision import clip
from workbench.model.vision.clip import ClipConfig, ClipTower
from workbench.model.vision.config import layer_of
from workbench.model.vision.grid import shuffled

LAYOUT = {"use_hd_transform": True, "with_learnable_separator": True, "hd_transform_order": "sub_glb"}
"""Settings of `embd_layer` that are computed."""
TAKEN = {"name": "clip_vision_model", "type_feature": "patch"}
"""Settings of `img_processor` that are computed."""
MERGE = 2
"""Patches of a token's side."""
PLACE = "vision_embed_tokens"


@dataclass(frozen=True, kw_only=True)
class Phi3VisionKeys(SeeingKeys):
    embd_layer: dict[str, Any] | None = None
    img_processor: dict[str, Any] | None = None


class Phi3VisionForCausalLM(Seeing):
    def __init__(self, config: Any, text: CausalLM) -> None:
        super().__init__(text)
        for key, computed in (("embd_layer", LAYOUT), ("img_processor", TAKEN)):
            stated = getattr(config, key) or {}
            wrong = next((one for one, value in computed.items() if stated.get(one, value) != value), None)
            if wrong is not None:
                message = f"config.json has {key}.{wrong} = {shown(stated[wrong])}, which is not computed here"
                raise ModelUnsupported(message, hint=f"computed: {shown(computed[wrong])}")
        tower = tower_of(config)
        self.side, self.width = tower.image_size, MERGE**2 * tower.hidden_size
        if tower.image_size % tower.patch_size or tower.image_size // tower.patch_size % MERGE:
            raise ModelCorrupt(
                f"config.json has {tower.image_size} pixels of a tile for patches of {tower.patch_size}, two by two"
            )
        self.cells = tower.image_size // tower.patch_size
        self.vision_tower = ClipTower(tower, [feature_layer(config)])
        self.img_projection = Projector(self.width, config.hidden_size, "gelu", bias=True)

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.row_end, self.between = (weights.tensor(name, self.width) for name in ("sub_GN", "glb_GN"))
        self.num_bytes = self.row_end.nbytes + self.between.nbytes

    def see(self, **arrays: Tensor) -> Tensor:
        """Returns the vectors of a picture that fills whole tiles, `pixels` [C, height, width] -> [num_tokens, H]."""
        pixels = arrays["pixels"][None]
        rows, columns = (size // self.side for size in pixels.shape[2:])
        tiles = pixels.unflatten(3, (columns, -1)).unflatten(2, (rows, -1)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        small = F.interpolate(pixels, (self.side, self.side), mode="bicubic")
        features = self.vision_tower(torch.cat((tiles, small)).to(self.dtype))[:, 1:]
        cells = shuffled(features, self.cells, self.cells, MERGE).unflatten(1, (self.cells // MERGE, -1))  # [B, c, c, 4 H]
        grid = cells[:-1].unflatten(0, (rows, columns)).transpose(1, 2).flatten(2, 3).flatten(0, 1)
        parts = (self._in_rows(grid), self.between[None], self._in_rows(cells[-1]))
        out: Tensor = self.img_projection(torch.cat(parts))
        return out

    def _in_rows(self, grid: Tensor) -> Tensor:  # [rows, columns, 4 H] -> [rows * (columns + 1), 4 H]
        return torch.cat((grid, self.row_end.expand(len(grid), 1, -1)), 1).flatten(0, 1)


def tower_of(config: Any) -> ClipConfig:
    """Returns the typed `vision_config`, by default the tower of the published models."""
    values = {key: value for key, value in config.vision_config.items() if key != "model_type"}
    return tower_config(ClipConfig, values or USUAL_TOWER)


def feature_layer(config: Any) -> int:
    """Returns the layer of the tower whose features are taken; 0 is in front of the first."""
    stated, count = (config.img_processor or {}).get("layer_idx", -2), tower_of(config).num_hidden_layers
    return layer_of(stated, count, "img_processor.layer_idx")


def _unused_layers(config: Any) -> str:
    last = range(feature_layer(config), tower_of(config).num_hidden_layers)
    return rf"{PLACE}\..*encoder\.layers\.({'|'.join(map(str, last))})\." if last else r"(?!)"


FAMILY = seeing(
    Phi3VisionKeys, Phi3VisionForCausalLM, text_architecture="Phi3ForCausalLM",
    names={f"vision_tower.{ours}": f"{PLACE}.img_processor.vision_model.{stored}" for ours, stored in clip.NAMES.items()}
    | {"img_projection.linear_1": f"{PLACE}.img_projection.0", "img_projection.linear_2": f"{PLACE}.img_projection.2",
       "sub_GN": f"{PLACE}.sub_GN", "glb_GN": f"{PLACE}.glb_GN", "embed_tokens": f"{PLACE}.wte"},
    # Files may hold the embedding twice, or under either name.
    leftovers=rf"{PLACE}\.img_processor\.vision_model\.post_layernorm\.|\.position_ids$|(^|\.)({PLACE}\.wte|embed_tokens)\.weight$",
    more_leftovers=_unused_layers,
)  # fmt: skip
