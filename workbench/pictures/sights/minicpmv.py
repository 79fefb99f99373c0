"""Pictures of MiniCPM-V 2.0 to 2.6: the whole, and for larger ones slices of it in rows, each a fixed number of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.pictures.pixels import HALVES, numbers_of
from workbench.pictures.places import UNKNOWN, Encode
from workbench.pictures.processor import OwnProcessor, Processor
from workbench.pictures.sight import PLACE, Seen, Sight, Words
from workbench.pictures.slices import sliced_into, sliced_size, whole_size

if TYPE_CHECKING:
    from PIL.Image import Image

PLACEHOLDER = "(<image>./</image>)"
NUMBER = "{number}"
"""Stands in a picture's text where its number among the prompt's pictures does."""
BICUBIC = 3


class MiniCPMVSight(Sight):
    """A slice is written in marks of its own; before 2.6 in those of a picture, and all slices in one more pair."""

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        found = words.encode(UNKNOWN, add_special_tokens=False)
        if len(found) != 1:
            raise ModelCorrupt(f"the tokenizer has no token {UNKNOWN}, the one of pictures", hint="fetch the folder again")
        super().__init__(folder, {**config, "image_token_id": found[0]}, words)
        self.token_id, self.written_id, self.placeholder = PLACE, found[0], PLACEHOLDER
        marks = ("image", "slice")
        self.opening = {words.encode(f"<{mark}>", add_special_tokens=False)[-1:] for mark in marks}
        self.closing = {words.encode(f"</{mark}>", add_special_tokens=False)[:1] for mark in marks}
        stated = self.processor.value
        self.num_queries: int = config.get("query_num", 64)
        self.most = int(stated("max_slice_nums") or 9)
        self.side, self.patch = int(stated("scale_resolution") or 448), int(stated("patch_size") or 14)
        self.colours = stated("norm_mean") or HALVES[0], stated("norm_std") or HALVES[1]
        self.is_nested = version_of(config) < (2, 6)
        self.has_numbers = bool(stated("use_image_id"))
        if stated("slice_mode") is False:
            raise ModelUnsupported("the processor of pictures has slice_mode = false, which is not computed")

    def open_processor(self) -> Processor:
        return OwnProcessor(self.folder)

    def see(self, picture: Image) -> Seen:
        grid = sliced_into(picture.size, self.most, self.side)
        whole = picture.resize(whole_size(picture.size, self.side, self.patch, grows=grid is None), BICUBIC)
        arrays, count = {"pixels": numbers_of(whole, *self.colours)}, 1
        if grid is not None:
            columns, rows = grid
            numbers = numbers_of(picture.resize(sliced_size(picture.size, grid, self.side, self.patch), BICUBIC), *self.colours)
            lines = np.split(numbers, rows, axis=1)
            arrays["slices"] = np.stack([part for line in lines for part in np.split(line, columns, axis=2)])
            count += columns * rows
        return Seen(arrays, self._text(grid), self.num_queries * count)

    def encode(self, prompt: str, encode: Encode) -> tuple[int, ...]:
        return self.marked(encode(prompt))

    def marked(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        count, found = self.num_queries, [*ids]
        run = [self.written_id] * count
        for start in range(1, len(ids) - count):
            end = start + count
            if found[start:end] == run and ids[start - 1 : start] in self.opening and ids[end : end + 1] in self.closing:
                found[start:end] = [PLACE] * count
        return tuple(found)

    def numbered(self, text: str, index: int) -> str:
        return text.replace(NUMBER, str(index))

    def _text(self, grid: tuple[int, int] | None) -> str:
        inner = UNKNOWN * self.num_queries
        number = f"<image_id>{NUMBER}</image_id>" if self.has_numbers else ""
        whole = f"{number}<image>{inner}</image>"
        if grid is None:
            return whole
        columns, rows = grid
        mark = "image" if self.is_nested else "slice"
        slices = "\n".join([f"<{mark}>{inner}</{mark}>" * columns] * rows)
        return f"{whole}<slice>{slices}</slice>" if self.is_nested else whole + slices


def version_of(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns the version that config.json states; the first models do not."""
    stated = config.get("version")
    if stated is None:
        return (2, 0) if config.get("hidden_size") == 2304 else (2, 5)
    try:
        return tuple(int(part) for part in str(stated).split("."))
    except ValueError:
        raise ModelCorrupt(f"config.json has version = {stated!r}, it must be numbers with points between") from None
