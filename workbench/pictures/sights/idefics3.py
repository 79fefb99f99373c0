"""Pictures of SmolVLM and Idefics 3: tiles, each behind a mark of its row and column, and the whole picture behind them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.pictures.sight import Seen, Sight, Words

if TYPE_CHECKING:
    from PIL.Image import Image

AROUND, WHOLE = "<fake_token_around_image>", "<global-img>"


class IdeficsSight(Sight):
    """A token for each square of `scale_factor` patches of a tile."""

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        super().__init__(folder, config, words)
        self.mark = words.decode((self.token_id,), skip_special_tokens=False)
        vision = config.get("vision_config") or {}
        self.cell: int = vision.get("patch_size", 32) * config.get("scale_factor", 2)
        """Pixels of a token's side."""

    def see(self, picture: Image) -> Seen:
        made = self.processor.made([[picture]], return_tensors="np", return_row_col_info=True)
        pixels, rows, columns = made["pixel_values"][0], int(made["rows"][0][0]), int(made["cols"][0][0])
        height, width = pixels.shape[-2:]
        num_tokens = (height // self.cell) * (width // self.cell)
        square = self.mark * num_tokens
        tiles = "".join(
            "".join(f"{AROUND}<row_{row + 1}_col_{column + 1}>{square}" for column in range(columns)) + "\n"
            for row in range(rows)
        )
        text = f"{tiles}\n" if tiles else ""
        return Seen({"pixels": pixels}, f"{text}{AROUND}{WHOLE}{square}{AROUND}", num_tokens * len(pixels))
