"""Phi-4-multimodal with text and pictures: SigLIP's patches of tiles, averaged by fours, and Phi-4 with adapters for pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.attention.base import StepContext
from workbench.checkpoint.base import Checkpoint
from workbench.checkpoint.beside import BesideCheckpoint
from workbench.checkpoint.safetensors_files import open_safetensors
from workbench.checkpoint.weights import Weights
from workbench.errors import ModelCorrupt, ModelNotFound, ModelUnsupported, shown
from workbench.model.adapter import adapt
from workbench.model.base import CausalLM
from workbench.model.decoder import Decoder
from workbench.model.families import phi3
from workbench.model.families.llava import Projector
from workbench.model.family import Family
from workbench.model.seeing import Seeing, SeeingKeys, composed_by, seeing, tower_config
from workbench.model.vision import siglip
from workbench.model.vision.config import SiglipConfig
from workbench.model.vision.siglip import SiglipTower
from workbench.pictures.processor import read_values
from workbench.pictures.sights.phi4_vision import useful

LAYOUT = {
    "use_hd_transform": True, "with_learnable_separator": True, "hd_transform_order": "sub_glb", "projection_cls": "mlp",
    "image_token_compression_cls": "avg_pool_2d",
}  # fmt: skip
"""Settings of `embd_layer.image_embd_layer` that are computed."""
PLACE = "embed_tokens_extend.image_embed"
FEATURE_LAYER = -2
BESIDE = "vision_lora."
"""Before the names of adapters in a file of their own."""
FOLDER, FILE = "vision-lora", "adapter_model.safetensors"
FUSED = {"self_attn.qkv": "self_attn.qkv_proj", "mlp.gate_up": "mlp.gate_up_proj"}
ADAPTED = FUSED | {"self_attn.o_proj": "self_attn.o_proj", "mlp.down_proj": "mlp.down_proj"}
"""Our linear layers of a block -> the file's."""


@dataclass(frozen=True, kw_only=True)
class Phi4Keys(SeeingKeys):
    vision_lora: dict[str, Any] | None = None
    """Rank `r` and `lora_alpha` of the adapters for pictures."""
    speech_lora: dict[str, Any] | None = None
    audio_processor: dict[str, Any] | None = None
    audio_config: dict[str, Any] | None = None
    """Keys about sound, which is not taken."""
    embd_layer: dict[str, Any] | None = None
    adapter_folder: str = ""
    """Folder of the adapters, where they are in files of their own."""


class Phi4Multimodal(Seeing):
    def __init__(self, config: Any, text: CausalLM) -> None:
        super().__init__(text)
        stated = (config.embd_layer or {}).get("image_embd_layer") or {}
        wrong = next((key for key, value in LAYOUT.items() if stated.get(key, value) != value), None)
        if wrong is not None:
            message = f"config.json has embd_layer.image_embd_layer.{wrong} = {shown(stated[wrong])}, which is not computed here"
            raise ModelUnsupported(message, hint=f"computed: {shown(LAYOUT[wrong])}")
        tower = tower_of(config)
        self.tile, self.side = tower.image_size, tower.image_size // tower.patch_size
        if self.side % 2:
            raise ModelUnsupported(f"config.json has {self.side} patches of a tile's side, an odd number")
        self.width = tower.hidden_size
        self.vision_tower = SiglipTower(tower, num_layers(config), normed=False)
        self.img_projection = Projector(self.width, config.hidden_size, "gelu", bias=True)
        rank, alpha = ((config.vision_lora or {}).get(key) for key in ("r", "lora_alpha"))
        if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
            raise ModelCorrupt("config.json has no rank r and lora_alpha in vision_lora", hint="fetch the folder again")
        assert isinstance(text, Decoder), text
        self.adapted = adapt(text, rank, alpha / rank)

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.row_end, self.between = (weights.tensor(name, self.width) for name in ("row_end", "between"))
        self.num_bytes = self.row_end.nbytes + self.between.nbytes

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        self.adapted.present = ctx.adapted
        return super().forward(token_ids, ctx)

    def see(self, **arrays: Tensor) -> Tensor:
        """Returns the vectors of a picture that fills tiles: [num_tokens, H]. Of the patches of `pixels` [C, height, width], the
        first `kept` [2] of a column and of a row show it."""
        pixels, kept = arrays["pixels"][None], arrays["kept"].tolist()
        rows, columns = (size // self.tile for size in pixels.shape[2:])
        tiles = pixels.unflatten(3, (columns, -1)).unflatten(2, (rows, -1)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        small = F.interpolate(pixels, (self.tile, self.tile), mode="bicubic")
        shown = [self._shown(kept[0], row, kept[1], column) for row in range(rows) for column in range(columns)]
        cells = self._cells(torch.cat((tiles, small)), [*shown, (self.side, self.side)])  # [B, c, c, H]
        grid = cells[:-1].unflatten(0, (rows, columns)).transpose(1, 2).flatten(2, 3).flatten(0, 1)
        height, width = (useful(count, self.side) for count in kept)
        parts = (self._in_rows(grid[:height, :width]), self.between[None], self._in_rows(cells[-1]))
        out: Tensor = self.img_projection(torch.cat(parts))
        return out

    def _shown(self, num_rows: int, row: int, num_columns: int, column: int) -> tuple[int, int]:
        """Returns the rows and columns of patches that show the picture, of one tile."""
        across, down = num_columns - column * self.side, num_rows - row * self.side
        return min(max(down, 0), self.side), min(max(across, 0), self.side)

    def _cells(self, pixels: Tensor, shown: list[tuple[int, int]]) -> Tensor:  # [B, C, S, S] -> [B, side / 2, side / 2, H]
        """Returns the means of four patches. Patches that do not show the picture are seen by none, and stand at place 0."""
        patches = self.vision_tower.patch_embedding.of_pixels(pixels)
        places, seen = torch.zeros(2, *patches.shape[:3], dtype=torch.int64).unbind()
        for i, (rows, columns) in enumerate(shown):
            if rows and columns:
                places[i, :rows, :columns] = self.vision_tower.places(rows, columns).view(rows, columns)
                seen[i, :rows, :columns] = 1
        at = self.vision_tower.position_embedding(places.flatten(1).to(patches.device))
        mask = None if bool(seen.all()) else seen.flatten(1).bool().to(patches.device)
        features = self.vision_tower.of_patches(patches.flatten(1, 2) + at, mask).view_as(patches)
        return F.avg_pool2d(features.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    def _in_rows(self, grid: Tensor) -> Tensor:  # [rows, columns, H] -> [rows * (columns + 1), H]
        return torch.cat((grid, self.row_end.expand(len(grid), 1, -1)), 1).flatten(0, 1)


@dataclass(frozen=True, kw_only=True)
class Phi4Tower(SiglipConfig):
    """The tower of the published model, whose folder states none of its sizes."""

    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_hidden_layers: int = 27
    num_attention_heads: int = 16
    image_size: int = 448
    patch_size: int = 14


def tower_of(config: Any) -> Phi4Tower:
    values = {key: value for key, value in config.vision_config.items() if key not in ("model_type", "image_token_id")}
    tile = values.pop("crop_size", None)
    feature = values.pop("feature_layer", FEATURE_LAYER)
    tower = tower_config(Phi4Tower, values)
    if tile not in (None, tower.image_size) or feature != FEATURE_LAYER:
        message = f"config.json has vision_config.crop_size = {tile} and feature_layer = {feature}"
        raise ModelUnsupported(
            message, hint=f"computed: {tower.image_size}, the size of the tower's pictures, and {FEATURE_LAYER}"
        )
    return tower


def num_layers(config: Any) -> int:
    """Returns the number of the tower's layers that are computed."""
    return tower_of(config).num_hidden_layers + 1 + FEATURE_LAYER


def _unused_layers(config: Any) -> str:
    last = range(num_layers(config), tower_of(config).num_hidden_layers)
    return rf"{PLACE}\..*encoder\.layers\.({'|'.join(map(str, last))})\."


def _with_adapters(checkpoint: Checkpoint, config: Any) -> Checkpoint:
    """Returns the model's files with that of the adapters, where they have none themselves."""
    if not config.adapter_folder:
        return checkpoint
    return BesideCheckpoint(checkpoint, open_safetensors(Path(config.adapter_folder) / FILE), BESIDE)


def _family(is_joined: bool) -> Any:
    """Returns the family as its authors publish it, adapters and all in one (`is_joined`), or as transformers saves it."""
    inner = ".base_layer" if is_joined else ""
    lora = "layers.*.{}.lora_{}.vision" if is_joined else BESIDE + "base_model.model.model.layers.*.{}.lora_{}"
    tower = f"{PLACE}.img_processor"
    names = {f"vision_tower.{ours}": f"{tower}.{stored}" for ours, stored in siglip.NAMES.items()}
    names |= {f"layers.*.{ours}.lora_{part}": lora.format(stored, part) for ours, stored in ADAPTED.items() for part in "AB"}
    names |= {f"layers.*.{one}": f"layers.*.{one}{inner}" for one in ("self_attn.o_proj", "mlp.down_proj")}
    first, last, row_end, between = (
        ("img_projection.0", "img_projection.2", "sub_GN", "glb_GN")
        if is_joined
        else ("img_projection_up", "img_projection_down", "sub_img_feature_extensor", "global_img_feature_extensor")
    )
    names |= {"img_projection.linear_1": f"{PLACE}.{first}", "img_projection.linear_2": f"{PLACE}.{last}",
              "row_end": f"{PLACE}.{row_end}", "between": f"{PLACE}.{between}"}  # fmt: skip

    def compose(values: Mapping[str, Any], folder: Path | None) -> tuple[Family[Any], dict[str, Any]]:
        whole = seeing(
            Phi4Keys, Phi4Multimodal, text_architecture="Phi3ForCausalLM", names=names,
            cuts=lambda config: phi3.cuts(config, *(f"layers.*.{stored}{inner}" for stored in FUSED.values())),
            leftovers=rf"audio_embed\.|\.lora_[AB]\.speech\.|{PLACE}\.img_processor\.(post_layernorm|head)\.|\.position_ids$",
            more_leftovers=_unused_layers, beside=_with_adapters,
        )  # fmt: skip
        assert whole.composed is not None
        return whole.composed(values if is_joined else dict(values) | _apart(values, folder), folder)

    return composed_by(compose)


def _apart(values: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Returns the adapters' settings and folder. Raises ModelNotFound where there is no such folder."""
    if folder is None or values.get("vision_lora"):
        return {}
    place = folder / FOLDER
    if not (place / FILE).is_file():
        message = f"{folder} has no {FOLDER}/{FILE}, the adapters with which the model reads pictures"
        raise ModelNotFound(message, hint="fetch the folder whole, with the folders in it")
    return {"vision_lora": read_values(place, "adapter_config.json"), "adapter_folder": str(place)}


AUTHORS, TRANSFORMERS = _family(is_joined=True), _family(is_joined=False)
