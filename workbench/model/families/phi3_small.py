"""Phi-3-small: every other layer sees blocks of the text; factors on embeddings, scores and logits; a gate of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from workbench.attention.bias import BlockSparse
from workbench.checkpoint.names import Cut, group_by_group
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import COMMON_NEUTRAL, Family
from workbench.model.layers import ACTIVATIONS, LayerNorm
from workbench.model.rope import Rope

UNUSED = frozenset({100_256, 100_258, 100_259, 100_260, 100_264, 100_265, *range(100_267, 100_352)})
"""Ids of the published vocabulary that stand for no text, and are never drawn."""


@dataclass(frozen=True, kw_only=True)
class Phi3SmallConfig(ModelConfig):
    words: ClassVar[Mapping[str, str]] = {
        "ff_intermediate_size": "intermediate_size", "rope_embedding_base": "rope_theta", "layer_norm_epsilon": "layer_norm_eps",
    }  # fmt: skip

    max_position_embeddings: int = 8192
    original_max_position_embeddings: int | None = None
    """Positions in training, for the long rotary embedding."""
    rope_theta: float = 1e6
    tie_word_embeddings: bool = True
    hidden_act: Literal["gegelu"] = "gegelu"
    gegelu_limit: float | None = 20.0
    """Most of a gate, and the size that its partner may have."""
    layer_norm_eps: float = 1e-5
    mup_use_scaling: bool = True
    """True: scores are divided by the size of a head, not by its root."""
    mup_attn_multiplier: float = 1.0
    mup_embedding_multiplier: float = 10.0
    mup_width_multiplier: float = 8.0
    """Divisor of the logits."""
    dense_attention_every_n_layers: int | None = 2
    """The period of layers that see the whole text."""
    blocksparse_block_size: int = 64
    blocksparse_num_local_blocks: int = 16
    blocksparse_vert_stride: int = 8
    blocksparse_homo_head_pattern: bool = False
    dummy_token_indices: list[int] | None = None
    """Ids that are never drawn; None are those of the published vocabulary."""

    def rope(self) -> Rope:
        trained = {"original_max_position_embeddings": self.original_max_position_embeddings}
        return Rope.make(self.rope_theta, trained, self.rope_scaling or self.rope_parameters)

    def blocks(self, layer: int) -> BlockSparse | None:
        """Returns the blocks that a layer sees; None is all."""
        period = self.dense_attention_every_n_layers
        if period and (layer + 1) % period == 0:
            return None
        return BlockSparse(
            self.num_attention_heads, self.blocksparse_block_size, self.blocksparse_num_local_blocks,
            self.blocksparse_vert_stride, self.blocksparse_homo_head_pattern,
        )  # fmt: skip

    def unused(self) -> list[int]:
        """Returns the ids that are never drawn."""
        return [
            i for i in (sorted(UNUSED) if self.dummy_token_indices is None else self.dummy_token_indices) if i < self.vocab_size
        ]


class GegeluMLP(MLP):
    """down(quick_gelu(gate) * (up + 1)), with limits on both."""

    def __init__(self, config: Phi3SmallConfig) -> None:
        super().__init__(config.hidden_size, config.intermediate_size, "quick_gelu", bias=True)
        self.activate = partial(_gegelu, limit=config.gegelu_limit)


def _gegelu(gate_up: Tensor, limit: float | None) -> Tensor:
    gate, up = gate_up.chunk(2, -1)
    if limit is not None:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return ACTIVATIONS["quick_gelu"](gate) * (up + 1)


class Phi3SmallForCausalLM(Decoder):
    def __init__(self, config: Phi3SmallConfig) -> None:
        norm = partial(LayerNorm, eps=config.layer_norm_eps)
        scale = config.mup_attn_multiplier / config.head_dim if config.mup_use_scaling else None

        def block(layer: int) -> Block:
            attention = Attention(config, layer, scale=scale, qkv_bias=True, o_bias=True, bias=config.blocks(layer))
            return Block(config, attention, GegeluMLP(config), norm)

        super().__init__(
            config, block, norm=norm(config.hidden_size), ropes=config.rope(), embed_scale=config.mup_embedding_multiplier,
            logit_scale=1 / config.mup_width_multiplier,
        )  # fmt: skip
        self.unused = config.unused()

    def logits(self, hidden: Tensor) -> Tensor:
        logits = super().logits(hidden)
        if self.unused:
            logits[:, self.unused] = torch.finfo(logits.dtype).min
        return logits


def _cuts(config: Phi3SmallConfig) -> Mapping[str, Cut]:
    qkv = group_by_group(
        "layers.*.self_attn.query_key_value", config.num_attention_heads, config.num_key_value_heads, config.head_dim
    )
    both = {f"layers.*.mlp.{part}": start for start, part in enumerate(("gate_proj", "up_proj"))}  # row by row
    stored = "layers.*.mlp.up_proj"
    return qkv | {part: Cut(stored, 2 * config.intermediate_size, start, 1, period=2) for part, start in both.items()}


FAMILY = Family(
    config=Phi3SmallConfig, model=Phi3SmallForCausalLM, cuts=_cuts,
    names={"norm": "final_layernorm", "layers.*.self_attn.o_proj": "layers.*.self_attn.dense"},
    neutral=COMMON_NEUTRAL | {
        "rope_position_scale": (1,), "blocksparse_triton_kernel_block_size": (64,), "gegelu_pad_to_256": (True, False),
        "pad_sequence_to_multiple_of_64": (True, False), "reorder_and_upcast_attn": (False,), "attention_bias": (True, False),
    },
)  # fmt: skip
