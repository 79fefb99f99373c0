"""The typed configs of vision towers: `vision_config` of a config.json. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.errors import ModelUnsupported
from workbench.model.config import Activation


def layer_of(stated: int, count: int, key: str) -> int:
    """Returns the number of a layer of a tower of `count`, where 0 is in front of the first; below 0 it is counted from the end.

    Raises ModelUnsupported, with the key of config.json that states it, for one that is not there.
    """
    found = stated if stated >= 0 else count + 1 + stated
    if not 0 <= found <= count:
        raise ModelUnsupported(
            f"config.json has {key} = {stated}, and a tower of {count} layers", hint="is vision_config that of this model?"
        )
    return found


@dataclass(frozen=True, kw_only=True)
class TowerConfig:
    """Base of the config of a tower. A key of `vision_config` is read exactly if it is a field."""

    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Values at which a key that is not read means what is computed anyway."""

    num_channels: int = 3
    patch_size: int = 16


@dataclass(frozen=True, kw_only=True)
class SquareConfig(TowerConfig):
    """The sizes of a tower that takes squares, with the values of CLIP and SigLIP where nothing is stated."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: int = 224


@dataclass(frozen=True, kw_only=True)
class SiglipConfig(SquareConfig):
    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "vision_use_head": (False, True)
    }  # the head makes one vector of a picture

    hidden_act: Activation = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6


@dataclass(frozen=True, kw_only=True)
class PixtralConfig(TowerConfig):
    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: int = 1024
    """Pixels of the longest side; the picture's processor keeps to it."""
    hidden_act: Activation = "gelu"
    rope_theta: float = 10_000.0
    rope_parameters: dict[str, Any] | None = None

    @property
    def theta(self) -> float:
        return float((self.rope_parameters or {}).get("rope_theta", self.rope_theta))


@dataclass(frozen=True, kw_only=True)
class MllamaTowerConfig(TowerConfig):
    hidden_size: int = 1280
    intermediate_size: int = 5120
    num_hidden_layers: int = 32
    num_global_layers: int = 8
    """Layers of the second transformer, whose gates open what it adds."""
    attention_heads: int = 16
    image_size: int = 448
    """Pixels of a tile's side."""
    patch_size: int = 14
    hidden_act: Activation = "gelu"
    norm_eps: float = 1e-5
    max_num_tiles: int = 4
    intermediate_layers_indices: tuple[int, ...] = (3, 7, 15, 23, 30)
    """Layers of the first transformer whose features stand beside those of the last."""
    supported_aspect_ratios: tuple[tuple[int, int], ...] = (
        (1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (3, 1), (4, 1),
    )  # fmt: skip
    """Shapes in which tiles may stand; their numbers begin at 1."""
    vision_output_dim: int = 7680
    """Numbers of a row's features."""

    @property
    def num_rows(self) -> int:
        """The number of a tile's rows: its patches, and one for the whole."""
        return int((self.image_size // self.patch_size) ** 2 + 1)

    @property
    def num_ratios(self) -> int:
        """The number of rows of tables by shape."""
        return len(self.supported_aspect_ratios) + 1


@dataclass(frozen=True, kw_only=True)
class QwenTowerConfig(TowerConfig):
    """The keys that both towers of Qwen have."""

    # Older files state these, and transformers reads neither.
    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {"in_chans": (3,), "spatial_patch_size": (14,)}

    depth: int = 32
    num_heads: int = 16
    in_channels: int = 3
    patch_size: int = 14
    temporal_patch_size: int = 2
    """Frames of one patch. A picture counts as so many equal ones."""
    spatial_merge_size: int = 2
    """Patches of a token's side."""
    rope_parameters: dict[str, Any] | None = None

    @property
    def rope_theta(self) -> float:
        return float((self.rope_parameters or {}).get("rope_theta", 10_000.0))


@dataclass(frozen=True, kw_only=True)
class Qwen2Tower(QwenTowerConfig):
    embed_dim: int = 1280
    hidden_size: int = 3584
    """Numbers of a token, as of the text model's."""
    hidden_act: Activation = "quick_gelu"
    mlp_ratio: int = 4


@dataclass(frozen=True, kw_only=True)
class Qwen25Tower(QwenTowerConfig):
    hidden_size: int = 3584
    out_hidden_size: int = 3584
    """Numbers of a token, as of the text model's."""
    intermediate_size: int = 3420
    hidden_act: Activation = "silu"
    window_size: int = 112
    """Pixels of a window's side."""
    fullatt_block_indexes: tuple[int, ...] = (7, 15, 23, 31)
    """Layers that see the whole frame; the others see a window."""
    tokens_per_second: int = 4
    """Steps of a position in a second of video."""
