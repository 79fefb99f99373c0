"""Pictures of LLaVA-NeXT and OneVision: the whole in one square, and tiles of it in the resolution that suits it best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.pictures.sight import Seen, Words
from workbench.pictures.sights.llava import LlavaSight
from workbench.pictures.tiles import best_resolution, shrunk, without_padding
from workbench.pictures.video import Frames

if TYPE_CHECKING:
    from PIL.Image import Image


class LlavaNextSight(LlavaSight):
    """Tokens of the square, those of the tiles together without what is padding, and one behind each row of these."""

    aspect: str | None = None

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        super().__init__(folder, config, words)
        self.offered: list[list[int]] = config.get("image_grid_pinpoints") or self.processor.value("image_grid_pinpoints")

    def see(self, picture: Image) -> Seen:
        made = self.processor([picture])
        pixels, (height, width) = made["pixel_values"][0], made["image_sizes"][0].tolist()
        side, tile = pixels.shape[-1] // self.patch_size, pixels.shape[-1]
        resolution = best_resolution((height, width), self.offered)
        whole = resolution[0] // tile * side, resolution[1] // tile * side
        rows, columns = (range(size)[kept] for size, kept in zip(whole, without_padding((height, width), whole), strict=True))
        kept = shrunk((len(rows), len(columns)), side, self.aspect)
        num_tokens = side**2 + self.num_more + kept[0] * (kept[1] + 1)
        size = np.array([height, width], dtype=np.int64)
        return Seen({"pixels": pixels, "size": size}, self.mark * num_tokens, num_tokens)


class OnevisionSight(LlavaNextSight):
    """A picture beside others is the square alone; of a video's frames, squares shrunk to a fourth."""

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        super().__init__(folder, config, words)
        self.aspect = config.get("vision_aspect_ratio") or "anyres_max_9"
        self.video_token_id = self._id("video_token_index", "video_token_id")
        self.video_mark = words.decode((self.video_token_id,), skip_special_tokens=False)
        self.video_placeholder = self.video_mark.strip()

    def see_one_of(self, picture: Image, count: int) -> Seen:
        if count == 1:
            return self.see(picture)
        pixels = self.processor.made([[picture, picture]], return_tensors="np")["pixel_values"][0][:1]
        num_tokens = (pixels.shape[-1] // self.patch_size) ** 2 + self.num_more + 1
        return Seen({"pixels": pixels}, self.mark * num_tokens, num_tokens)

    def see_video(self, frames: Frames) -> Seen:
        squares = np.stack([self.processor([frame])["pixel_values"][0][0] for frame in frames.pictures])
        num_tokens = len(squares) * math.ceil(squares.shape[-1] // self.patch_size / 2) ** 2 + 1
        return Seen({"frames": squares}, self.video_mark * num_tokens, num_tokens)
