"""Qwen2-VL and Qwen2.5-VL: Qwen 2 that turns by time, height and width, and a tower that takes pictures of any size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from workbench.errors import ModelCorrupt
from workbench.model.base import CausalLM
from workbench.model.family import Family
from workbench.model.seeing import Seeing, SeeingKeys, seeing, tower_config
from workbench.model.vision import qwen_vl
from workbench.model.vision.config import Qwen2Tower, Qwen25Tower
from workbench.model.vision.qwen_vl import QwenTower


@dataclass(frozen=True, kw_only=True)
class QwenVLKeys(SeeingKeys):
    turns_by_axes: ClassVar[bool] = True

    num_key_value_heads: int = 8
    rms_norm_eps: float = 1e-5
    rope_theta: float = 1_000_000.0
    max_window_layers: int = 80
    image_token_id: int = 151_655
    video_token_id: int = 151_656
    vision_start_token_id: int = 151_652
    vision_end_token_id: int = 151_653
    vision_token_id: int = 151_654
    """Id of a token that no picture has."""


class QwenVL(Seeing):
    """The features of a picture are the tower's, as many as it has tokens after the merger."""

    def __init__(self, config: Any, text: CausalLM, tower: type[Qwen2Tower | Qwen25Tower]) -> None:
        super().__init__(text)
        if not config.rope().mrope_section:
            hint = "it says which frequencies turn by time, height and width: fetch the model's config.json again"
            raise ModelCorrupt("config.json has no mrope_section in its rope_scaling or rope_parameters", hint=hint)
        self.visual = QwenTower(tower_config(tower, config.vision_config))

    def see(self, **arrays: Tensor) -> Tensor:
        """Returns the features [N / merge^2, H] of `patches` [N, C * frames * P * P] on the `grid` [1, 3]."""
        grids = [(frames, rows, columns) for frames, rows, columns in arrays["grid"].tolist()]
        out: Tensor = self.visual(arrays["patches"], grids)
        return out


def _family(tower: type[Qwen2Tower | Qwen25Tower], names: Mapping[str, str]) -> Family[Any]:
    return seeing(
        QwenVLKeys, lambda config, text: QwenVL(config, text, tower), text_architecture="Qwen2ForCausalLM",
        names={f"visual.{ours}": f"visual.{theirs}" for ours, theirs in names.items()},
    )  # fmt: skip


QWEN2 = _family(Qwen2Tower, qwen_vl.NAMES_OF_2)
QWEN25 = _family(Qwen25Tower, qwen_vl.NAMES)
