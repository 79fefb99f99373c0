"""MiniCPM-V 2.0 to 2.6: SigLIP's patches of pictures of any shape, of which a resampler makes a fixed number of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import ModelUnsupported
from workbench.model.base import CausalLM
from workbench.model.family import Family
from workbench.model.seeing import Seeing, SeeingKeys, composed_by, seeing, tower_config
from workbench.model.vision import siglip
from workbench.model.vision.config import SiglipConfig
from workbench.model.vision.resampler import HEAD_SIZE, Resampler
from workbench.model.vision.siglip import SiglipTower
from workbench.pictures.llava_words import SIGLIP
from workbench.pictures.sights.minicpmv import version_of

FIRST = (2, 0)
TEXTS = {FIRST: "MiniCPMForCausalLM", (2, 5): "LlamaForCausalLM", (2, 6): "Qwen2ForCausalLM"}
"""The text half of each version."""
FIRST_NAMES = {
    "patch_embedding": "patch_embed.proj", "position_embedding.weight": "pos_embed", "post_layernorm": "norm",
    "layers.*.mlp.up_proj": "blocks.*.mlp.fc1", "layers.*.mlp.down_proj": "blocks.*.mlp.fc2",
} | {f"layers.*.{part}": f"blocks.*.{part}" for part in ("norm1", "norm2", "attn.qkv", "attn.proj")}  # fmt: skip
"""Names of the tower in files of 2.0."""
FIRST_TOWER = SIGLIP | {"hidden_act": "gelu"}
"""Sizes of that tower, which config.json names alone."""


@dataclass(frozen=True, kw_only=True)
class MiniCPMVKeys(SeeingKeys):
    version: float | str | None = None
    query_num: int = 64
    """Vectors of a slice."""
    drop_vision_last_layer: bool = True
    slice_mode: bool = True
    slice_config: dict[str, Any] | None = None
    use_image_id: bool = False
    max_slice_nums: int | None = None
    scale_resolution: int | None = None
    image_size: int | None = None
    patch_size: int | None = None
    """Keys about slices, which the folder's processor states too."""
    vision_batch_size: int | None = None
    batch_vision_input: bool | None = None
    chunk_input: bool | None = None
    mm_use_im_start_end: bool | None = None
    """Keys about how pictures are batched, and about a form of prompts that is the only one."""
    vision_encoder: Literal["vit_so400m_patch14_siglip_384.webli"] | None = None


class MiniCPMV(Seeing):
    def __init__(self, config: Any, text: CausalLM) -> None:
        super().__init__(text)
        if config.hidden_size % HEAD_SIZE:
            raise ModelUnsupported(f"config.json has hidden_size = {config.hidden_size}, no multiple of {HEAD_SIZE}")
        tower = tower_of(config)
        self.version = version_of({"version": config.version, "hidden_size": config.hidden_size})
        is_first = self.version == FIRST
        self.vpm = SiglipTower(tower, num_layers(config), joined=is_first)
        self.resampler = Resampler(config.query_num, config.hidden_size, tower.hidden_size, places_queries=is_first)

    def see(self, **arrays: Tensor) -> Tensor:
        """Returns the vectors of the whole, `pixels` [C, height, width], and of each of its `slices` [B, C, height, width], one
        after the other: [num_tokens, H]."""
        squares = [arrays["pixels"][None], *([arrays["slices"]] if "slices" in arrays else [])]
        return torch.cat([self._vectors(pixels).flatten(0, 1) for pixels in squares])

    def _vectors(self, pixels: Tensor) -> Tensor:  # [B, C, height, width] -> [B, queries, H]
        patches = self.vpm.patch_embedding.of_pixels(pixels)
        rows, columns = patches.shape[1:3]
        features = self.vpm.of_patches(patches.flatten(1, 2) + self._places(rows, columns, patches.device))
        out: Tensor = self.resampler(features, rows, columns)
        return out

    def _places(self, rows: int, columns: int, device: torch.device) -> Tensor:
        """Returns the tower's places of the patches of a picture [rows * columns, H].

        The table is of a square. Of it, 2.6 takes the nearest ones, 2.5 those of all patches in one line, as it was trained, and
        2.0 means of neighbours.
        """
        if self.version > FIRST:
            at = self.vpm.places(rows, columns) if self.version >= (2, 6) else self.vpm.places(1, rows * columns)
            return self.vpm.position_embedding(at.to(device))
        table = self.vpm.position_embedding(torch.arange(self.vpm.side**2, device=device))
        square = table.float().T.unflatten(1, (self.vpm.side, self.vpm.side))[None]
        resized = F.interpolate(square, (rows, columns), mode="bicubic", antialias=True)
        return resized[0].flatten(1).T.to(table.dtype)


def tower_of(config: Any) -> SiglipConfig:
    stated = config.vision_config or (FIRST_TOWER if config.vision_encoder else {})
    return tower_config(SiglipConfig, {key: value for key, value in stated.items() if key != "model_type"})


def num_layers(config: Any) -> int:
    """Returns the number of the tower's layers that are computed."""
    return tower_of(config).num_hidden_layers - config.drop_vision_last_layer


def _unused_layers(config: Any) -> str:
    last = range(num_layers(config), tower_of(config).num_hidden_layers)
    return rf"vpm\.(encoder\.layers|blocks)\.({'|'.join(map(str, last))})\." if last else r"(?!)"


def _compose(values: Mapping[str, Any], folder: Path | None) -> tuple[Family[Any], dict[str, Any]]:
    version = version_of(values)
    if version not in TEXTS:
        known = ", ".join(".".join(map(str, one)) for one in TEXTS)
        stated = ".".join(map(str, version))
        raise ModelUnsupported(
            f"config.json is of MiniCPM-V {stated}, which is not computed yet", hint=f"versions that run: {known}"
        )
    names = FIRST_NAMES if version == FIRST else siglip.NAMES
    whole = seeing(
        MiniCPMVKeys, MiniCPMV, text_architecture=TEXTS[version],
        names={f"vpm.{ours}": f"vpm.{stored}" for ours, stored in names.items()}, prefixes=("llm.model.", "llm."),
        leftovers=r"^resampler\.pos_embed$|\.position_ids$|^vpm\.(head|attn_pool)\.", more_leftovers=_unused_layers,
    )  # fmt: skip
    assert whole.composed is not None
    return whole.composed(values, folder)


FAMILY = composed_by(_compose)
