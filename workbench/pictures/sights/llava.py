"""Pictures of the LLaVA families: a grid of patches, whole or cut into tiles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.pictures.sight import Seen, Sight, Words
from workbench.pictures.sights.pixtral import PixtralPatchSight

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


def llava_sight(folder: Path, config: Mapping[str, Any], words: Words) -> Sight:
    """Returns the sight of a model under LLaVA's architecture: by its tower that of LLaVA or of Pixtral."""
    kind = (config.get("vision_config") or {}).get("model_type")
    return (PixtralPatchSight if kind == "pixtral" else LlavaSight)(folder, config, words)
