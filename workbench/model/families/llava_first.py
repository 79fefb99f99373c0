"""LLaVA 1.5, 1.6, OneVision and Yi-VL in their authors' folders: other words in config.json, a tower that may lie elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbench.checkpoint.base import Checkpoint
from workbench.checkpoint.beside import BesideCheckpoint
from workbench.checkpoint.safetensors_files import open_safetensors
from workbench.errors import ModelNotFound
from workbench.model.base import CausalLM
from workbench.model.families.llava import TOWER, TOWERS, UNUSED, LlavaForConditionalGeneration, unused_layers
from workbench.model.families.llava_next import LlavaNextForConditionalGeneration, LlavaNextKeys
from workbench.model.family import Family
from workbench.model.seeing import Seeing, composed_by, seeing
from workbench.pictures.llava_words import NORMED, in_later_words

INSIDE = ("model.vision_tower.vision_tower.", "model.vision_tower.vision_tower.vision_model.")
"""Words before the tower's names in the model's own files."""
UNUSED_OF_CLIP = r"^vision_tower\.(text_model\.|text_projection|visual_projection|logit_scale|logit_bias)"
"""Parts of a tower's own folder that compare pictures with texts."""


PROJECTOR = {"linear_1": 0, "linear_2": 2}
NORMED_PROJECTOR = {"linear_1": 0, "norm_1": 1, "linear_2": 3, "norm_2": 4}
"""Our layers of a projector -> their numbers in files."""


@dataclass(frozen=True, kw_only=True)
class FirstKeys(LlavaNextKeys):
    mm_projector_type: Literal["mlp2x_gelu", "mlp2x_gelu_Norm"] = "mlp2x_gelu"
    mm_vision_tower: str = ""
    """Folder of the tower, or its name among models."""
    vision_aspect_ratio: str | None = None


def _made(config: Any, text: CausalLM) -> Seeing:
    model = (LlavaNextForConditionalGeneration if config.image_grid_pinpoints else LlavaForConditionalGeneration)(config, text)
    model.square = None  # the size is the tower's, whatever its folder's files are for
    return model


def _with_tower(checkpoint: Checkpoint, config: Any) -> Checkpoint:
    """Returns the model's files with those of the tower's folder, where they have no tower themselves."""
    if any("vision_tower." in name for name in checkpoint.tensors):
        return checkpoint
    if config.mm_vision_tower and Path(config.mm_vision_tower).is_dir():
        return BesideCheckpoint(checkpoint, open_safetensors(Path(config.mm_vision_tower)), "vision_tower.")
    raise ModelNotFound(
        f"{checkpoint.path} has no tensors of the tower that reads pictures: they are those of {config.mm_vision_tower!r}",
        hint='fetch that model and name its folder: json_model_override_args=\'{"mm_vision_tower": "FOLDER"}\'',
    )


def _family(text_architecture: str) -> Family[Any]:
    def compose(values: Mapping[str, Any], folder: Path | None) -> tuple[Family[Any], dict[str, Any]]:
        is_normed = values.get("mm_projector_type") == NORMED
        projector = NORMED_PROJECTOR if is_normed else PROJECTOR
        whole = seeing(
            FirstKeys, _made, text_architecture=text_architecture,
            names=TOWER | {f"multi_modal_projector.{ours}": f"mm_projector.{at}" for ours, at in projector.items()},
            prefixes=(*INSIDE, *TOWERS), leftovers=f"{UNUSED}|{UNUSED_OF_CLIP}", more_leftovers=unused_layers,
            beside=_with_tower,
        )  # fmt: skip
        assert whole.composed is not None
        return whole.composed(in_later_words(values, folder), folder)

    return composed_by(compose)


LLAMA, MISTRAL, QWEN = _family("LlamaForCausalLM"), _family("MistralForCausalLM"), _family("Qwen2ForCausalLM")
