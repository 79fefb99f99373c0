"""Pictures of Pixtral and Mistral Small 3.1: rows of tokens, with a mark behind each row and another behind the last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.pictures.sight import Seen, Sight, Words

if TYPE_CHECKING:
    from PIL.Image import Image


class PixtralSight(Sight):
    """A token for each square of `spatial_merge_size` patches."""

    usual_merge = 2

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        super().__init__(folder, config, words)
        self.mark = words.decode((self.token_id,), skip_special_tokens=False)
        vision = config.get("vision_config") or {}
        self.cell: int = vision.get("patch_size", 16) * config.get("spatial_merge_size", self.usual_merge)
        """Pixels of a token's side."""
        self.row_end: str = self.processor.value("image_break_token") or "[IMG_BREAK]"
        self.end: str = self.processor.value("image_end_token") or "[IMG_END]"

    def see(self, picture: Image) -> Seen:
        made = self.processor.made([picture], return_tensors="np", patch_size=self.cell)
        height, width = (int(size) for size in made["image_sizes"][0])
        rows, columns = height // self.cell, width // self.cell
        text = self.row_end.join([self.mark * columns] * rows) + self.end
        return Seen({"pixels": made["pixel_values"][0][:, :height, :width]}, text, rows * columns)


class PixtralPatchSight(PixtralSight):
    """A token for each patch."""

    usual_merge = 1
