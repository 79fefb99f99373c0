"""The tower of Llama 3.2 Vision: all tiles of a picture in one sequence, through a transformer and a gated one behind it.

Size letters as in `vit.py`; T tiles that a picture may have, of which its first are cut out of it and the others empty.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.checkpoint.weights import Weights
from workbench.errors import ModelUnsupported, shown
from workbench.model.blocks import UngatedMLP
from workbench.model.layer import Layer
from workbench.model.layers import Embedding, LayerNorm
from workbench.model.linear import FusedLinear, Linear
from workbench.model.vision.config import MllamaTowerConfig
from workbench.model.vision.vit import PatchProduct

ROUND = 8
"""The rows of a tile are filled up to a multiple of this."""


class TileAttention(Layer):
    """Attention among the rows of a picture. Filling does not see filling; everything else sees everything.

    The model was trained so: what is cut out of the picture sees the empty tiles too, so they are computed.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = FusedLinear(hidden_size, dict.fromkeys(("q_proj", "k_proj", "v_proj"), hidden_size))
        self.proj = Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, num_real: int) -> Tensor:
        """Returns attention [N, H] of x [N, H], of which the first `num_real` rows are the picture's and the others filling."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(1, 2, 0, 3)[:, None]  # each [1, heads, N, D]
        real = F.scaled_dot_product_attention(q[:, :, :num_real], k, v)
        filling = F.scaled_dot_product_attention(q[:, :, num_real:], k[:, :, :num_real], v[:, :, :num_real])
        return self.proj(torch.cat((real, filling), 2)[0].transpose(0, 1).flatten(1))


class TileBlock(Layer):
    """A block of the tower; in the second transformer what it adds is multiplied by the tanh of a gate."""

    def __init__(self, config: MllamaTowerConfig, *, is_gated: bool) -> None:
        super().__init__()
        size = config.hidden_size
        self.norm1, self.norm2 = LayerNorm(size, config.norm_eps), LayerNorm(size, config.norm_eps)
        self.attn = TileAttention(size, config.attention_heads)
        self.mlp = UngatedMLP(size, config.intermediate_size, config.hidden_act)
        self.is_gated = is_gated

    def load(self, weights: Weights) -> None:
        super().load(weights)
        if self.is_gated:
            self.attention_gate, self.mlp_gate = (weights.tensor(name, 1).tanh() for name in ("gate_attn", "gate_ffn"))

    def forward(self, x: Tensor, num_real: int) -> Tensor:  # [N, H] -> [N, H]
        seen = self.attn(self.norm1(x), num_real)
        if not self.is_gated:
            x = x + seen
            out: Tensor = self.mlp(x, self.norm2, added=x)
            return out
        x = x + self.attention_gate * seen
        return x + self.mlp_gate * self.mlp(x, self.norm2)


class TilePlaces(Layer):
    """One vector for each tile of a shape, times the tanh of a gate."""

    def __init__(self, config: MllamaTowerConfig) -> None:
        super().__init__()
        self.embedding = Embedding(config.num_ratios, config.max_num_tiles * config.hidden_size)
        self.num_tiles = config.max_num_tiles

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.gate = weights.tensor("gate", 1).tanh()

    def forward(self, ratio: Tensor) -> Tensor:  # [1] -> [T, 1, H]
        return self.embedding(ratio).view(self.num_tiles, 1, -1) * self.gate


class RowPlaces(Layer):
    """The places of a tile's rows, and between them by the share of a gate those of all tiles of a shape."""

    def __init__(self, config: MllamaTowerConfig) -> None:
        super().__init__()
        self.shape = (config.max_num_tiles, config.num_rows, config.hidden_size)
        self.tile_embedding = Embedding(config.num_ratios, torch.Size(self.shape).numel())

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.places, self.share = weights.tensor("embedding", *self.shape[1:]), weights.tensor("gate", 1).tanh()
        self.num_bytes = self.places.nbytes

    def forward(self, ratio: Tensor) -> Tensor:  # [1] -> [T, rows, H]
        return (1 - self.share) * self.places + self.share * self.tile_embedding(ratio).view(self.shape)


class MllamaTower(Layer):
    """Pixels of a picture's tiles [tiles, C, S, S] and the number of its shape in, features of their rows out."""

    def __init__(self, config: MllamaTowerConfig) -> None:
        super().__init__()
        size, patch = config.hidden_size, config.patch_size
        kept = config.intermediate_layers_indices
        if not all(0 <= at < config.num_hidden_layers for at in kept) or config.vision_output_dim != size * (1 + len(kept)):
            message = f"config.json takes features of the layers {shown(kept)} of {config.num_hidden_layers}, "
            raise ModelUnsupported(f"{message}{config.vision_output_dim} numbers of a row with {size} of each layer")
        self.kept, self.size, self.num_tiles, self.num_rows = kept, size, config.max_num_tiles, config.num_rows
        self.num_ratios = config.num_ratios
        self.patch_embedding = PatchProduct(config.num_channels, (patch, patch), size, bias=False)
        self.pre_tile_positional_embedding, self.post_tile_positional_embedding = TilePlaces(config), TilePlaces(config)
        self.gated_positional_embedding = RowPlaces(config)
        self.layernorm_pre, self.layernorm_post = LayerNorm(size, 1e-5), LayerNorm(size, 1e-5)
        self.transformer = nn.ModuleList(TileBlock(config, is_gated=False) for _ in range(config.num_hidden_layers))
        self.global_transformer = nn.ModuleList(TileBlock(config, is_gated=True) for _ in range(config.num_global_layers))

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.class_embedding = weights.tensor("class_embedding", self.size)
        self.num_bytes = self.class_embedding.nbytes

    def forward(self, pixels: Tensor, ratio: Tensor) -> Tensor:
        """Returns features [tiles * rows, H * (1 + number of kept layers)] of pixels [tiles, C, S, S] and the shape [1]."""
        num_tiles = len(pixels)
        patches = self.patch_embedding.of_pixels(pixels).flatten(1, 2)
        patches = torch.cat((patches, patches.new_zeros(self.num_tiles - num_tiles, *patches.shape[1:])))  # [T, N, H]
        patches = patches + self.pre_tile_positional_embedding(ratio)
        rows = torch.cat((self.class_embedding.expand(self.num_tiles, 1, -1), patches), 1)
        rows = self.layernorm_pre(rows + self.gated_positional_embedding(ratio))  # [T, rows, H]
        x, num_real, owner = self._in_order(rows, num_tiles)
        states: dict[int, Tensor] = {}
        for at, layer in enumerate(self.transformer):
            x = layer(x, num_real)
            states |= {at: x[:num_real]} if at in self.kept else {}
        x = self.layernorm_post(x) + self.post_tile_positional_embedding(ratio)[owner, 0]
        for layer in self.global_transformer:
            x = layer(x, num_real)
        # A row's numbers: those of the last layer, then of each number in turn those of all kept layers.
        return torch.cat((x[:num_real], torch.stack([states[at] for at in self.kept], -1).flatten(1)), 1)

    def _in_order(self, rows: Tensor, num_tiles: int) -> tuple[Tensor, int, Tensor]:
        """Returns the rows [T, rows, H] of all tiles in one sequence [N, H], the picture's own first, then filling; the number of
        the picture's own; and the tile of each row [N]. Attention gives no order to rows."""
        tiles = torch.arange(self.num_tiles, device=rows.device)
        num_real, num_more = num_tiles * self.num_rows, -self.num_rows % ROUND
        owner = torch.cat((tiles.repeat_interleave(self.num_rows), tiles.repeat_interleave(num_more)))
        return torch.cat((rows.flatten(0, 1), rows.new_zeros(self.num_tiles * num_more, self.size))), num_real, owner


def _block_names(ours: str) -> dict[str, str]:
    """Returns the names of one transformer's layers in files."""
    parts = {f"attn.{part}": f"self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj")} | {
        "attn.proj": "self_attn.o_proj", "norm1": "input_layernorm", "norm2": "post_attention_layernorm",
        "mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2",
    }  # fmt: skip
    of_gates = {gate: gate for gate in ("gate_attn", "gate_ffn")}
    return {f"{ours}.*.{name}": f"{ours}.layers.*.{stored}" for name, stored in (parts | of_gates).items()}


NAMES = _block_names("transformer") | _block_names("global_transformer")
"""Our pattern below the tower -> the file's."""
