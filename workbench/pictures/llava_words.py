"""The config.json of LLaVA's authors in the words of transformers. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.checkpoint.files import read_config
from workbench.errors import ModelCorrupt, ModelUnsupported, shown

CLIP = {
    "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
}  # fmt: skip
SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
    "num_attention_heads": 16, "image_size": 384, "patch_size": 14,
}  # fmt: skip
TOWERS: dict[str, dict[str, Any]] = {
    "openai/clip-vit-large-patch14-336": CLIP,
    "openai/clip-vit-large-patch14": CLIP | {"image_size": 224},
    "google/siglip-so400m-patch14-384": SIGLIP,
}
"""Sizes of the towers that published models name in `mm_vision_tower`."""
NORMED = "mlp2x_gelu_Norm"
"""The projector of Yi-VL."""
TRAINING = frozenset(
    "freeze_mm_mlp_adapter freeze_mm_vision_resampler tune_mm_mlp_adapter tune_mm_vision_resampler unfreeze_mm_vision_tower "
    "use_mm_proj mm_projector_lr mm_vision_tower_lr mm_tunable_parts tokenizer_model_max_length tokenizer_padding_side "
    "image_crop_resolution image_split_resolution mm_resampler_location pos_skipping_range vision_tower_pretrained "
    "mm_hidden_size mm_spatial_pool_mode mm_spatial_pool_stride mm_spatial_pool_out_channels mm_newline_position "
    "faster_token_stride force_sample add_time_instruction".split()
)
"""Keys about training, about sizes that tensors have, and about videos, which the sight reads."""
OWN = ("image_aspect_ratio", "image_grid_pinpoints", "mm_patch_merge_type", "mm_vision_select_layer", "mm_vision_select_feature")


def in_later_words(values: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Returns the config of a model in `folder`. Its `mm_vision_tower` is the tower's folder, where there is one.

    Raises ModelUnsupported for a tower of unknown sizes and for a way of cutting pictures that is not computed.
    """
    made = {key: value for key, value in values.items() if key not in TRAINING and key not in OWN}
    named = str(values.get("mm_vision_tower") or "")
    place = _place(named, folder)
    made["mm_vision_tower"] = named if place is None else str(place)
    made["vision_config"] = tower = _tower(values, named, place)
    # Its layers behind the last but one are not computed, whatever is stated; it has no vector of the whole.
    is_siglip = tower.get("model_type") == "siglip_vision_model"
    feature = values.get("mm_vision_select_feature") or "patch"
    if feature not in ("patch", "cls_patch"):
        raise ModelUnsupported(f"config.json has mm_vision_select_feature = {shown(feature)}", hint="computed: patch, cls_patch")
    made["vision_feature_layer"] = -2 if is_siglip else values.get("mm_vision_select_layer", -2)
    made["vision_feature_select_strategy"] = "full" if is_siglip or feature == "cls_patch" else "default"
    return made | _tiling(values)


def _tiling(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys about tiles, none for pictures of one square."""
    aspect, merged = values.get("image_aspect_ratio") or "square", values.get("mm_patch_merge_type") or "flat"
    if aspect in ("square", "pad"):
        return {}
    most = aspect.removeprefix("anyres_max_")
    if aspect != "anyres" and not most.isdecimal():
        raise ModelUnsupported(
            f"config.json has image_aspect_ratio = {shown(aspect)}", hint="computed: square, pad, anyres, anyres_max_N"
        )
    if merged != "spatial_unpad":
        message = f"config.json has mm_patch_merge_type = {shown(merged)} for tiles of pictures"
        raise ModelUnsupported(message, hint="computed: spatial_unpad")
    offered = values.get("image_grid_pinpoints")
    if not isinstance(offered, list) or not all(isinstance(one, list) and len(one) == 2 for one in offered) or not offered:
        raise ModelCorrupt(
            f"config.json has image_grid_pinpoints = {shown(offered)}", hint="write a list of [width, height] in pixels"
        )
    return {
        "image_grid_pinpoints": [[height, width] for width, height in offered],
        "vision_aspect_ratio": aspect if most.isdecimal() else None,
    }


def _place(named: str, folder: Path | None) -> Path | None:
    """Returns the folder that `mm_vision_tower` names, itself or below that of the model; None for the name of a model."""
    places = [Path(named).expanduser(), *([folder / named] if folder else [])] if named else []
    return next((place.resolve() for place in places if (place / "config.json").is_file()), None)


def _tower(values: Mapping[str, Any], named: str, place: Path | None) -> dict[str, Any]:
    """Returns `vision_config`: as stated, or that of the tower's folder, or of a tower that is known by its name."""
    if values.get("vision_config"):
        return dict(values["vision_config"])
    if place is not None:
        found = read_config(place)
        kind = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}.get(str(found.get("model_type")))
        return found if kind is None else {"model_type": kind, **(found.get("vision_config") or {})}
    if named not in TOWERS:
        raise ModelUnsupported(
            f"config.json has mm_vision_tower = {shown(named)}, which is no folder here and whose sizes are not known",
            hint=f"towers that are known: {', '.join(TOWERS)}; of another, name its folder",
        )
    return dict(TOWERS[named])
