"""Pictures of Phi-3-Vision and 3.5: as many tiles as are allowed, in rows, and a small form of the whole behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.pictures.pixels import CLIP, numbers_of
from workbench.pictures.places import Encode, encode_between, free_ids, is_unknown, without_numbers
from workbench.pictures.processor import OwnProcessor, Processor, pillow
from workbench.pictures.sight import PLACE, Seen, Sight, Words

if TYPE_CHECKING:
    from PIL.Image import Image

MARK = "<|image|>"
SIDE, PATCH = 336, 14
"""Pixels of a tile and of a patch, where config.json states no others."""
BILINEAR, TRANSPOSE = 2, 5
WHITE = (255, 255, 255)


class Phi3VisionSight(Sight):
    """Four patches of a tile are a token. A token is behind each row, and one between the tiles and the small form."""

    has_tokens = False

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        known = words.encode(MARK, add_special_tokens=False)
        place = known[0] if len(known) == 1 and known[0] < config["vocab_size"] else free_ids(words, config["vocab_size"], 1)[0]
        super().__init__(folder, {**config, "image_token_id": place}, words)
        if is_unknown(words, place):
            self.token_id, self.written_id = PLACE, place
        self.placeholder = MARK
        vision = config.get("vision_config") or {}
        self.side: int = vision.get("image_size", SIDE)
        self.cells = self.side // vision.get("patch_size", PATCH) // 2
        """Tokens of a tile's side."""
        self.most = int(self.processor.value("num_crops") or 1)
        self.colours = self.processor.value("image_mean") or CLIP[0], self.processor.value("image_std") or CLIP[1]

    def open_processor(self) -> Processor:
        return OwnProcessor(self.folder)

    def written(self, text: str) -> str:
        return without_numbers(text, MARK)

    def encode(self, prompt: str, encode: Encode) -> tuple[int, ...]:
        """Returns the ids; each text between pictures is encoded alone, with the special tokens that the tokenizer adds to a
        text, as the authors' processor does it."""
        if not prompt.replace(MARK, ""):
            return (self.token_id,) * (len(prompt) // len(MARK))
        return encode_between(prompt, {MARK: self.token_id}, self.words.encode, self.words.encode)

    def see(self, picture: Image) -> Seen:
        pixels = numbers_of(self.fitted(picture), *self.colours)
        rows, columns = pixels.shape[1] // self.side, pixels.shape[2] // self.side
        num_tokens = (rows * columns + 1) * self.cells**2 + 1 + (rows + 1) * self.cells
        return Seen({"pixels": pixels}, MARK * num_tokens, num_tokens)

    def fitted(self, picture: Image) -> Image:
        """Returns a picture that fills whole tiles: as many beside each other as are allowed for its shape, with white above and
        below. One that is higher than wide lies on its side meanwhile."""
        lies = picture.width < picture.height
        turned = picture.transpose(TRANSPOSE) if lies else picture  # type: ignore[arg-type]
        ratio = turned.width / turned.height
        columns = 1
        while (columns + 1) * math.ceil((columns + 1) / ratio) <= self.most:
            columns += 1
        width = columns * self.side
        height = int(width / ratio)
        resized = turned.resize((width, height), BILINEAR)
        whole = math.ceil(height / self.side) * self.side
        fitted: Image = pillow().new("RGB", (width, whole), WHITE)
        fitted.paste(resized, (0, (whole - height) // 2))
        return fitted.transpose(TRANSPOSE) if lies else fitted  # type: ignore[arg-type]
