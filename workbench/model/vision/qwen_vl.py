"""The towers of Qwen2-VL and Qwen2.5-VL: patches of any number of frames, rows and columns, four of which become one token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from workbench.model.blocks import MLP, UngatedMLP
from workbench.model.layer import Layer
from workbench.model.layers import AnyNorm, LayerNorm, RMSNorm
from workbench.model.linear import Linear
from workbench.model.vision.config import Qwen2Tower, Qwen25Tower
from workbench.model.vision.grid import Grid, frame_lengths, places, turns, windows
from workbench.model.vision.vit import PatchProduct, VitAttention, VitBlock

EPS = 1e-6
"""The epsilon of all norms, which no config states."""


class Merger(Layer):
    """The patches of a token side by side, normed each, through two products."""

    def __init__(self, norm: AnyNorm, hidden_size: int, merge: int, out_size: int) -> None:
        super().__init__()
        self.norm, self.width = norm, hidden_size * merge**2
        self.up, self.down = Linear(self.width, self.width, bias=True), Linear(self.width, out_size, bias=True)

    def forward(self, x: Tensor) -> Tensor:  # [N, H] -> [N / merge^2, out]
        return self.down(F.gelu(self.up(self.norm(x).view(-1, self.width))))


class QwenTower(Layer):
    """Patches of pictures in the order of merging [N, C * frames * P * P] in, features of their tokens out."""

    def __init__(self, config: Qwen2Tower | Qwen25Tower) -> None:
        super().__init__()
        if isinstance(config, Qwen25Tower):
            size, out_size = config.hidden_size, config.out_hidden_size
            norm: type[AnyNorm] = RMSNorm
            self.full, self.side = (
                frozenset(config.fullatt_block_indexes),
                config.window_size // config.patch_size // config.spatial_merge_size,
            )
        else:
            size, out_size = config.embed_dim, config.hidden_size
            norm, self.full, self.side = LayerNorm, frozenset(range(config.depth)), 0
        made = partial(norm, eps=EPS)
        self.merge, self.head_size, self.theta = config.spatial_merge_size, size // config.num_heads, config.rope_theta
        sizes = (config.temporal_patch_size, config.patch_size, config.patch_size)
        self.patch_embed = PatchProduct(config.in_channels, sizes, size, bias=False)
        self.blocks = nn.ModuleList(
            VitBlock(size, VitAttention(size, config.num_heads, joined=True), _mlp(config), made) for _ in range(config.depth)
        )
        self.merger = Merger(made(size), size, self.merge, out_size)

    def forward(self, patches: Tensor, grids: Sequence[Grid]) -> Tensor:  # -> [N / merge^2, out]
        x = self.patch_embed(patches)
        at, whole = places(grids, self.merge).to(x.device), frame_lengths(grids)
        near, back = whole, None
        if self.side:
            x, at, near, back = self._by_windows(x, at, grids)
        turn = turns(at, self.head_size, self.theta, interleaved=False, dtype=x.dtype)
        for i, block in enumerate(self.blocks):
            x = block(x, whole if i in self.full else near, turn)
        tokens: Tensor = self.merger(x)
        return tokens if back is None else tokens[back]

    def _by_windows(self, x: Tensor, at: Tensor, grids: Sequence[Grid]) -> tuple[Tensor, Tensor, list[int], Tensor]:
        """Returns patches and places window by window, the number of patches of each window, and the way back for tokens."""
        merge = self.merge
        order, lengths = windows([(frames, rows // merge, columns // merge) for frames, rows, columns in grids], self.side)
        order = order.to(x.device)
        x, at = (rows.unflatten(0, (-1, merge**2))[order].flatten(0, 1) for rows in (x, at))
        return x, at, [length * merge**2 for length in lengths], order.argsort()


def _mlp(config: Qwen2Tower | Qwen25Tower) -> Layer:
    if isinstance(config, Qwen25Tower):
        return MLP(config.hidden_size, config.intermediate_size, config.hidden_act, bias=True)
    return UngatedMLP(config.embed_dim, config.embed_dim * config.mlp_ratio, config.hidden_act)


NAMES = {
    "patch_embed": "patch_embed.proj",
    "merger.norm": "merger.ln_q",
    "merger.up": "merger.mlp.0",
    "merger.down": "merger.mlp.2",
}
"""Our pattern below the tower -> the file's."""
NAMES_OF_2 = NAMES | {"blocks.*.mlp.up_proj": "blocks.*.mlp.fc1", "blocks.*.mlp.down_proj": "blocks.*.mlp.fc2"}
"""Those of Qwen2-VL."""
