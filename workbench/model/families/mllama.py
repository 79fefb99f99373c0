"""Llama 3.2 Vision: Llama with layers between its own that look at pictures by cross attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from workbench.attention.base import StepContext
from workbench.attention.crossed import Crossed
from workbench.attention.spec import AttentionSpec
from workbench.checkpoint.weights import Weights
from workbench.errors import ModelCorrupt, ModelUnsupported, shown
from workbench.model.base import CausalLM
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, ModelConfig
from workbench.model.decode import AtOnce
from workbench.model.decoder import Decoder
from workbench.model.families.llama import NEUTRAL
from workbench.model.family import Family
from workbench.model.layer import Layer
from workbench.model.layers import Embedding, RMSNorm
from workbench.model.linear import FusedLinear, Linear
from workbench.model.rotary import Turn
from workbench.model.seeing import Seeing, SeeingKeys, seeing, tower_config
from workbench.model.vision.config import MllamaTowerConfig
from workbench.model.vision.mllama import NAMES, MllamaTower

NUM_MORE = 8
"""Rows of the embedding behind the vocabulary; the first is that of the picture's token, which has no logit."""


@dataclass(frozen=True, kw_only=True)
class MllamaTextConfig(ModelConfig):
    hidden_act: Activation = "silu"
    max_position_embeddings: int = 131_072
    rms_norm_eps: float = 1e-5
    rope_theta: float = 500_000.0
    cross_attention_layers: tuple[int, ...] = (3, 8, 13, 18, 23, 28, 33, 38)
    """Indices of the layers that look at pictures."""


class CrossAttention(Layer):
    """Grouped-query attention of text over pictures, with norms of the heads and without positions."""

    def __init__(self, config: MllamaTextConfig, number: int) -> None:
        super().__init__()
        num_heads, num_kv_heads, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.of_pictures = AttentionSpec(
            layer=number, num_heads=num_heads, num_kv_heads=num_kv_heads, head_size=size, v_head_size=size, scale=size**-0.5
        )
        self.q_proj = Linear(config.hidden_size, num_heads * size)
        self.kv = FusedLinear(config.hidden_size, {"k_proj": num_kv_heads * size, "v_proj": num_kv_heads * size})
        self.o_proj = Linear(num_heads * size, config.hidden_size)
        self.q_norm, self.k_norm = RMSNorm(size, config.rms_norm_eps), RMSNorm(size, config.rms_norm_eps)

    def look(self, picture: Tensor) -> Tensor:
        """Returns keys and values [2, P, Hkv, D] of a picture's rows [P, H]."""
        k, v = (x.unflatten(-1, (self.of_pictures.num_kv_heads, -1)) for x in self.kv.split(picture))
        return torch.stack((self.k_norm(k), v))

    def forward(self, x: Tensor, crossed: Crossed, norm: RMSNorm) -> Tensor:
        """Returns attention of norm(x) [n, H], the rows that see pictures."""
        q = self.q_norm(self.q_proj(x, norm.norm).unflatten(-1, (self.of_pictures.num_heads, -1)))
        return self.o_proj(crossed.attend(self.of_pictures, q).flatten(1))


class CrossBlock(Layer):
    """x + gate * attention(norm(x)), then x + gate * mlp(norm(x)), for the rows that see a picture; others pass through."""

    def __init__(self, config: MllamaTextConfig, number: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.cross_attn = CrossAttention(config, number)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.attention_gate, self.mlp_gate = (weights.tensor(f"cross_attn_{name}_gate", 1).tanh() for name in ("attn", "mlp"))

    def forward(self, x: Tensor, crossed: Crossed) -> Tensor:  # [T, H] -> [T, H]
        rows = crossed.rows
        part = x[rows]
        part = part + self.attention_gate * self.cross_attn(part, crossed, self.input_layernorm)
        part = part + self.mlp_gate * self.mlp(part, self.post_attention_layernorm)
        return x.index_copy(0, rows, part)


class MllamaForCausalLM(Decoder):
    """The text half. Alone it reads text, which passes through the layers of cross attention."""

    def __init__(self, config: MllamaTextConfig) -> None:
        crossing = config.cross_attention_layers
        if config.tie_word_embeddings:
            raise ModelUnsupported("config.json ties the head to an embedding that has more rows than the head")
        if not crossing or not set(crossing) < set(range(config.num_hidden_layers)):
            message = f"config.json has cross_attention_layers = {shown(crossing)}, and {config.num_hidden_layers} layers"
            raise ModelCorrupt(message)

        def block(layer: int) -> Layer:
            if layer in crossing:
                return CrossBlock(config, sum(other < layer for other in crossing))
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
            return Block(config, Attention(config, layer), mlp)

        super().__init__(config, block, ropes=config.rope())
        self.num_crossing, self.num_embeddings = len(crossing), config.vocab_size + NUM_MORE
        self.embed_tokens = Embedding(self.num_embeddings, config.hidden_size)
        own = [layer for layer in range(config.num_hidden_layers) if layer not in crossing]
        ends = [-1, *sorted(crossing), config.num_hidden_layers]
        self.own = self._at_once(own)
        self.between = [self._at_once(range(before + 1, end)) for before, end in pairwise(ends)]
        """Layers before, between and behind those of cross attention."""

    def _at_once(self, layers: Sequence[int]) -> tuple[Sequence[int], AtOnce]:
        return layers, AtOnce([self.layers[layer] for layer in layers], [self.ropes[layer] for layer in layers])

    def through(self, x: Tensor, turns: Sequence[Turn | None], ctx: StepContext) -> Tensor:
        if ctx.crossed is None:
            layers, at_once = self.own
            return at_once.or_one_by_one(x, [turns[layer] for layer in layers], ctx)
        crossing = iter([layer for layer in self.layers if isinstance(layer, CrossBlock)])
        for layers, at_once in self.between:
            x = at_once.or_one_by_one(x, [turns[layer] for layer in layers], ctx)
            if (layer := next(crossing, None)) is not None:
                x = layer(x, ctx.crossed)
        return x

    def decode_bytes(self) -> int:
        idle = sum(layer.cross_attn.kv.num_bytes for layer in self.layers if isinstance(layer, CrossBlock))
        return super().decode_bytes() - idle  # keys and values of a picture are made once

    def look(self, picture: Tensor) -> Tensor:
        """Returns keys and values of all layers of cross attention [C, 2, P, Hkv, D] of a picture's rows [P, H]."""
        return torch.stack([layer.cross_attn.look(picture) for layer in self.layers if isinstance(layer, CrossBlock)])


@dataclass(frozen=True, kw_only=True)
class MllamaKeys(SeeingKeys):
    image_token_index: int | None = None
    image_token_id: int | None = None
    """Token of pictures, under one of two names; it is read by `workbench.pictures`."""


class MllamaForConditionalGeneration(Seeing):
    def __init__(self, config: Any, text: CausalLM) -> None:
        assert isinstance(text, MllamaForCausalLM)
        super().__init__(text)
        values = {key: value for key, value in config.vision_config.items() if key != "model_type"}
        tower = tower_config(MllamaTowerConfig, values)
        self.look, self.num_crossing = text.look, text.num_crossing
        self.vision_model, self.square = MllamaTower(tower), tower.image_size
        self.multi_modal_projector = Linear(tower.vision_output_dim, config.hidden_size, bias=True)

    def picture_row_bytes(self) -> int:
        config = self.config
        return 2 * self.num_crossing * config.num_key_value_heads * config.head_dim * self.dtype.itemsize

    def see(self, **arrays: Tensor) -> Tensor:
        """Returns the keys and values of a picture [C, 2, P, Hkv, D]: `pixels` [tiles, C, S, S], and `ratio` [1], the number of
        the shape in which the tiles stand."""
        return self.look(self.multi_modal_projector(self.vision_model(arrays["pixels"], arrays["ratio"])))


TEXT = Family[MllamaTextConfig](config=MllamaTextConfig, model=MllamaForCausalLM, neutral=NEUTRAL | {"dropout": (0,)})
FAMILY = seeing(
    MllamaKeys, MllamaForConditionalGeneration, text_type="mllama_text_model", text_architecture="MllamaForCausalLM",
    names={f"vision_model.{name}": f"vision_model.{stored}" for name, stored in NAMES.items()},
)  # fmt: skip
