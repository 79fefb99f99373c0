"""LLaVA-NeXT (1.6): a picture whole and in tiles, whose rows of patches each end in a vector of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from workbench.checkpoint.weights import Weights
from workbench.errors import ModelUnsupported
from workbench.model.base import CausalLM
from workbench.model.families.llava import (
    TOWER,
    TOWERS,
    UNUSED,
    LlavaForConditionalGeneration,
    LlavaKeys,
    unused_layers,
)
from workbench.model.seeing import seeing
from workbench.model.vision.clip import ClipConfig


@dataclass(frozen=True, kw_only=True)
class LlavaNextKeys(LlavaKeys):
    image_grid_pinpoints: list[list[int]] | None = None
    """Grids that a picture may become; they are read by `workbench.pictures`."""
    use_image_newline_parameter: Literal[True] = True


class LlavaNextForConditionalGeneration(LlavaForConditionalGeneration):
    def __init__(self, config: Any, text: CausalLM) -> None:
        super().__init__(config, text)
        if isinstance(self.tower_config, ClipConfig) != self.is_cut:
            message = f"config.json has vision_feature_select_strategy = {config.vision_feature_select_strategy!r}"
            raise ModelUnsupported(message, hint="tiles are squares of patches: default for CLIP, full for SigLIP")

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.image_newline = weights.tensor("image_newline", self.hidden_size)
        self.num_bytes = self.image_newline.nbytes

    def see(self, pixels: Tensor, layout: Tensor) -> Tensor:
        """Returns the vectors of the whole, then those of the grid, row by row: [num_tokens, H].

        `pixels` [1 + rows * columns, C, S, S] are the whole and its tiles; `layout` is (rows, columns, padding above, padding to
        the left), the latter two in patches.
        """
        rows, columns, top, left = layout.tolist()
        whole, *_ = features = self.features(pixels)
        return torch.cat((whole, self.ended(grid_of(features[1:], rows, columns, top, left))))

    def ended(self, grid: Tensor) -> Tensor:  # [rows, columns, H] -> [rows * (columns + 1), H]
        """Returns the vectors of a grid row by row, each with the vector that ends it."""
        ends = self.image_newline.to(grid.dtype).expand(len(grid), 1, -1)
        return torch.cat((grid, ends), 1).flatten(0, 1)


def grid_of(tiles: Tensor, rows: int, columns: int, top: int, left: int) -> Tensor:
    """Returns the patches of tiles [rows * columns, side * side, H] as one grid [patches down, patches across, H], less the padding
    on each side."""
    side = int(tiles.shape[1] ** 0.5)
    cells = tiles.view(rows, columns, side, side, -1).transpose(1, 2).reshape(rows * side, columns * side, -1)
    return cells[top : rows * side - top, left : columns * side - left]


FAMILY = seeing(
    LlavaNextKeys, LlavaNextForConditionalGeneration, names=TOWER, prefixes=TOWERS, leftovers=UNUSED, more_leftovers=unused_layers
)
