"""Pictures of Gemma 3: one square each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.pictures.sight import Seen, Sight, Words

if TYPE_CHECKING:
    from PIL.Image import Image


class Gemma3Sight(Sight):
    """A fixed number of tokens between a mark for the beginning, which is the placeholder too, and one for the end."""

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        super().__init__(folder, config, words)
        begin, end = (self._id(f"{name}_token_index", f"{name}_token_id") for name in ("boi", "eoi"))
        mark, first, last = (words.decode((one,), skip_special_tokens=False) for one in (self.token_id, begin, end))
        self.placeholder = first.strip()
        self.num_tokens: int = config.get("mm_tokens_per_image") or 256
        self.square = f"\n\n{first}{mark * self.num_tokens}{last}\n\n"

    def see(self, picture: Image) -> Seen:
        # Crops of a long picture are made where a caller requests them of transformers' processor, and none does here.
        pixels = self.processor([picture], do_pan_and_scan=False)["pixel_values"]
        return Seen({"pixels": pixels}, self.square, self.num_tokens, is_whole=True)
