"""Pictures of the LLaVA families: a grid of patches, whole or cut into tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.pictures.sight import Seen, Sight, Words

if TYPE_CHECKING:
    from PIL.Image import Image


class LlavaSight(Sight):
    """LLaVA 1.5: one square of patches, each a token. A tower's first row, its summary, counts where the strategy keeps it."""

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        super().__init__(folder, config, words)
        self.mark = words.decode((self.token_id,), skip_special_tokens=False)
        vision = config.get("vision_config") or {}
        self.patch_size: int = vision.get("patch_size", 14)
        has_summary = vision.get("model_type", "clip_vision_model") == "clip_vision_model"
        is_cut = config.get("vision_feature_select_strategy", "default") == "default"
        self.num_more = has_summary - is_cut
        """Tokens of a picture beside its patches."""

    def see(self, picture: Image) -> Seen:
        pixels = self.processor([picture])["pixel_values"]
        height, width = pixels.shape[-2:]
        num_tokens = (height // self.patch_size) * (width // self.patch_size) + self.num_more
        return Seen({"pixels": pixels}, self.mark * num_tokens, num_tokens)


class TiledSight(LlavaSight):
    """LLaVA-NeXT: the whole picture as one square, then its tiles as one grid, without what pads it, each row ended by a vector."""

    def see(self, picture: Image) -> Seen:
        pixels = self.processor([picture])["pixel_values"][0]
        height, width = best_of(picture.height, picture.width, self.choices)
        tile, side = pixels.shape[-1], pixels.shape[-1] // self.patch_size
        rows, columns = height // tile, width // tile
        top, left = padding(picture.height, picture.width, rows * side, columns * side)
        kept = (rows * side - 2 * top) * (columns * side - 2 * left + 1)
        num_tokens = side**2 + self.num_more + kept
        layout = np.array([rows, columns, top, left], dtype=np.int64)
        return Seen({"pixels": pixels, "layout": layout}, self.mark * num_tokens, num_tokens)

    @property
    def choices(self) -> Sequence[Sequence[int]]:
        """(height, width) of the grids that a picture may become, in pixels."""
        stated = self.processor.value("image_grid_pinpoints") or self.config.get("image_grid_pinpoints")
        found: Sequence[Sequence[int]] = stated or [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
        return found


def best_of(height: int, width: int, choices: Sequence[Sequence[int]]) -> Sequence[int]:
    """Returns the choice in which a picture keeps most of its pixels; of equal ones, the one with the least padding."""

    def kept(choice: Sequence[int]) -> tuple[int, int]:
        scale = min(choice[1] / width, choice[0] / height)
        num = min(int(width * scale) * int(height * scale), width * height)
        return num, num - choice[0] * choice[1]

    return max(choices, key=kept)


def padding(height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
    """Returns (rows above, columns to the left) that pad a picture in a grid of patches; as many pad the other sides."""
    if width / height > columns / rows:
        return (rows - int(round(height * (columns / width), 7))) // 2, 0
    return 0, (columns - int(round(width * (rows / height), 7))) // 2
