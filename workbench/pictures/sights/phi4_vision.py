"""Pictures of Phi-4-multimodal: tiles in rows, of which what is padding counts little, and a small form of the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import ModelCorrupt
from workbench.pictures.pixels import HALVES, numbers_of
from workbench.pictures.places import without_numbers
from workbench.pictures.processor import OwnProcessor, Processor, pillow
from workbench.pictures.sight import Seen, Sight, Words

if TYPE_CHECKING:
    from PIL.Image import Image

MARK = "<|endoftext10|>"
"""The token of pictures, which stands for one in a prompt too."""
SIDE, PATCH, MOST = 448, 14, 36
"""Pixels of a tile and of a patch, and tiles at most, where the files state no others."""
LEAST = 10
"""Pixels of a picture's side that its tiles must show."""
BILINEAR = 2
WHITE = (255, 255, 255)


class Phi4VisionSight(Sight):
    """Four patches of a tile are a token; padding has none. A prompt with pictures is computed by adapted weights."""

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        found = words.encode(MARK, add_special_tokens=False)
        if len(found) != 1:
            raise ModelCorrupt(f"the tokenizer has no token {MARK}, the one of pictures", hint="fetch the folder again")
        super().__init__(folder, {**config, "image_token_id": found[0]}, words)
        self.placeholder = MARK
        vision = config.get("vision_config") or {}
        self.side: int = vision.get("crop_size") or vision.get("image_size") or SIDE
        self.patch: int = vision.get("patch_size") or PATCH
        self.cells = self.side // self.patch // 2
        """Tokens of a tile's side."""
        self.most = int(self.processor.value("dynamic_hd") or MOST)
        self.colours = self.processor.value("image_mean") or HALVES[0], self.processor.value("image_std") or HALVES[1]

    def open_processor(self) -> Processor:
        return OwnProcessor(self.folder)

    def written(self, text: str) -> str:
        return without_numbers(text, MARK)

    def see(self, picture: Image) -> Seen:
        columns, rows = tiles_of(picture.size, self.side, self.most)
        fitted, padding = self._fitted(picture, columns, rows)
        kept = [count * self.side // self.patch - pad // self.patch for count, pad in zip((rows, columns), padding, strict=True)]
        height, width = (useful(one, self.side // self.patch) for one in kept)
        num_tokens = height * (width + 1) + 1 + self.cells * (self.cells + 1)
        arrays = {"pixels": numbers_of(fitted, *self.colours), "kept": np.array(kept, dtype=np.int64)}
        return Seen(arrays, MARK * num_tokens, num_tokens, adapts=True)

    def _fitted(self, picture: Image, columns: int, rows: int) -> tuple[Image, tuple[int, int]]:
        """Returns a picture in the upper left of so many tiles, white elsewhere, and the pixels below it and at its right. Raises
        ValueError for one that is much longer than wide."""
        whole = columns * self.side, rows * self.side
        by_width, by_height = whole[0] / picture.width, whole[1] / picture.height
        if by_width < by_height:
            size = whole[0], int(picture.height * by_width)
        else:
            size = int(picture.width * by_height), whole[1]
        if min(size) < LEAST:
            raise ValueError(f"its shorter side has {min(size)} pixels in the tiles, of {LEAST} at least")
        fitted: Image = pillow().new("RGB", whole, WHITE)
        fitted.paste(picture.resize(size, BILINEAR), (0, 0))
        return fitted, (whole[1] - size[1], whole[0] - size[0])


def tiles_of(size: tuple[int, int], side: int, most: int) -> tuple[int, int]:
    """Returns (columns, rows) of the tiles of a picture (width, height): as many as it fills, or where these are too many, those
    of the shape that is nearest; of two that are as near, the larger for a picture that covers half of it."""
    width, height = size
    columns, rows = math.ceil(width / side), math.ceil(height / side)
    if columns * rows <= most:
        return columns, rows
    grids = [(x, y) for x in range(1, most + 1) for y in range(1, most // x + 1)]
    best, nearest = (1, 1), math.inf
    for x, y in sorted(sorted(grids), key=lambda grid: grid[0] * grid[1]):
        distance = abs(width / height - x / y)
        if distance < nearest or (distance == nearest and width * height > side**2 * x * y / 2):
            best, nearest = (x, y), distance
    return best


def useful(kept: int, patches: int) -> int:
    """Returns the tokens in a line of tiles of so many patches each, of which the first `kept` show the picture: in each tile
    half of them, rounded up."""
    full, rest = divmod(kept, patches)
    return full * (patches // 2) + math.ceil(rest / 2)
