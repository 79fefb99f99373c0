"""Pictures of Llama 3.2 Vision: tiles of a grid that suits the picture's shape. The text has one token for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import ModelCorrupt
from workbench.pictures.sight import Seen, Sight, Words

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_TILES = 4
"""Tiles of a picture where the files state none."""


class MllamaSight(Sight):
    """A picture is looked at from the text behind its token."""

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        super().__init__(folder, config, words)
        self.mark = words.decode((self.token_id,), skip_special_tokens=False)
        self.placeholder = self.mark
        begin = (config.get("text_config") or {}).get("bos_token_id")
        self.begin = "" if begin is None else words.decode((begin,), skip_special_tokens=False)
        vision = config.get("vision_config") or {}
        self.num_patches = (vision.get("image_size", 448) // vision.get("patch_size", 14)) ** 2 + 1
        """Rows of a tile, that of the whole tile counted."""
        known, cut = vision.get("max_num_tiles", MOST_TILES), self.processor.value("max_image_tiles") or MOST_TILES
        if known != cut:
            raise ModelCorrupt(f"{folder} cuts pictures into {cut} tiles, and config.json has max_num_tiles = {known}")

    def written(self, text: str) -> str:
        """Returns the text with the word that begins one, behind the pictures in front of it, as the model was trained."""
        if not self.begin or self.begin in text:
            return text
        rest = text
        while rest.startswith(self.mark):
            rest = rest.removeprefix(self.mark)
        return text[: len(text) - len(rest)] + self.begin + rest

    def see(self, picture: Image) -> Seen:
        made = self.processor([picture])
        num_tiles, ratio = int(made["aspect_ratio_mask"].sum()), made["aspect_ratio_ids"].flatten()
        pixels = np.ascontiguousarray(made["pixel_values"][0, 0, :num_tiles])
        return Seen({"pixels": pixels, "ratio": ratio}, self.mark, 1, num_crossed=num_tiles * self.num_patches)
