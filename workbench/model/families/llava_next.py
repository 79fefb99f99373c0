"""LLaVA-NeXT and LLaVA-OneVision: a picture as one square and as tiles of a higher resolution, with a vector behind each row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.checkpoint.weights import Weights
from workbench.errors import ModelCorrupt, ModelUnsupported, shown
from workbench.model.base import CausalLM
from workbench.model.families.llava import TOWER, TOWERS, UNUSED, LlavaForConditionalGeneration, LlavaKeys, unused_layers
from workbench.model.seeing import seeing
from workbench.pictures.tiles import best_resolution, shrunk, without_padding


@dataclass(frozen=True, kw_only=True)
class LlavaNextKeys(LlavaKeys):
    image_grid_pinpoints: list[list[int]] | None = None
    """Resolutions (height, width) of tiles together."""


@dataclass(frozen=True, kw_only=True)
class OnevisionKeys(LlavaNextKeys):
    video_token_index: int | None = None
    video_token_id: int | None = None
    vision_feature_layer: int | list[int] = -1
    vision_feature_select_strategy: Literal["default", "full"] = "full"
    vision_aspect_ratio: str = "anyres_max_9"
    """anyres_max_N: tiles together are shrunk to about N squares of patches."""


class LlavaNextForConditionalGeneration(LlavaForConditionalGeneration):
    def __init__(self, config: Any, text: CausalLM) -> None:
        super().__init__(config, text)
        aspect = getattr(config, "vision_aspect_ratio", None)
        if aspect is not None and not aspect.removeprefix("anyres_max_").isdecimal():
            raise ModelUnsupported(f"config.json has vision_aspect_ratio = {shown(aspect)}", hint="computed: anyres_max_N")
        if not config.image_grid_pinpoints:
            raise ModelCorrupt("config.json has no image_grid_pinpoints", hint="fetch the model's config.json again")
        self.aspect, self.offered = aspect, config.image_grid_pinpoints
        self.tile, self.side = self.tower_config.image_size, self.tower_config.image_size // self.tower_config.patch_size

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.image_newline = weights.tensor("image_newline", self.hidden_size)
        self.num_bytes = self.image_newline.nbytes

    def see(self, **arrays: Tensor) -> Tensor:
        """Returns the vectors of a picture [num_tokens, H]: of `pixels` [1 + tiles, C, S, S] with its `size` [2] in pixels, of
        one square alone, or of a video's `frames` [frames, C, S, S]."""
        if "frames" in arrays:
            return torch.cat((self._halved(self.features(arrays["frames"])).flatten(0, 1), self.image_newline[None]))
        squares = self.features(arrays["pixels"])
        if len(squares) == 1:
            return torch.cat((squares[0], self.image_newline[None]))
        height, width = arrays["size"].tolist()
        tiled = self._with_row_ends(self._together(squares[1:], (height, width)))
        return torch.cat((squares[0], tiled.flatten(0, 1)))

    def _together(self, tiles: Tensor, size: tuple[int, int]) -> Tensor:
        """Returns the patches of all tiles [tiles, side * side, H] as one grid [rows, columns, H] without padding."""
        resolution = best_resolution(size, self.offered)
        rows, columns = resolution[0] // self.tile, resolution[1] // self.tile
        grid = tiles.view(rows, columns, self.side, self.side, -1).transpose(1, 2).flatten(2, 3).flatten(0, 1)
        kept = grid[without_padding(size, (rows * self.side, columns * self.side))]
        small = shrunk((kept.shape[0], kept.shape[1]), self.side, self.aspect)
        return kept if small == kept.shape[:2] else _resized(kept[None], small)[0]

    def _with_row_ends(self, grid: Tensor) -> Tensor:  # [rows, columns, H] -> [rows, columns + 1, H]
        return torch.cat((grid, self.image_newline.expand(len(grid), 1, -1)), 1)

    def _halved(self, squares: Tensor) -> Tensor:
        """Returns squares [frames, side * side, H] of half the side, rounded up."""
        half = math.ceil(self.side / 2)
        return _resized(squares.unflatten(1, (self.side, self.side)), (half, half)).flatten(1, 2)


def _resized(grids: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns grids [B, rows, columns, H] of another number of rows and columns, each a mean of its neighbours."""
    return F.interpolate(grids.permute(0, 3, 1, 2), size, mode="bilinear").permute(0, 2, 3, 1)


def _family(keys: type[LlavaNextKeys]) -> Any:
    return seeing(
        keys, LlavaNextForConditionalGeneration, names=TOWER, prefixes=TOWERS, leftovers=UNUSED, more_leftovers=unused_layers,
        neutral={"use_image_newline_parameter": (True,)},
    )  # fmt: skip


NEXT, ONEVISION = _family(LlavaNextKeys), _family(OnevisionKeys)
