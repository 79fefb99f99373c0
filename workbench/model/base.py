"""The base of every family: the interface to the engine, and of decoders embedding and head."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from workbench.attention.base import StepContext
from workbench.attention.spec import AttentionSpec
from workbench.checkpoint.pooling import Pooling
from workbench.checkpoint.weights import Weights
from workbench.model.block_matrix import BlockMatrix
from workbench.model.config import ModelConfig
from workbench.model.layer import Layer, load_parts
from workbench.model.layers import Embedding
from workbench.model.linear import BlockWeight, Linear
from workbench.model.moe import MoE

logger = logging.getLogger("workbench")


class Model(Layer):
    """A transformer: tokens in, hidden states out."""

    architecture = ""
    """The name in the registry under which it was loaded."""
    makes_text = False
    """False: it makes vectors or scores alone, with `is_embedding`."""
    sees = False
    """True: it takes pictures, by `see`."""
    is_encoder = False
    """True: each token sees the whole text. False: it sees the tokens before it."""
    pooling = Pooling("last", normalise=True)
    """The vector of a text, where no file beside the model states another."""
    quantization: str | None = None
    """Method by which the weights are quantised; "dequant": they were, and are dense here; None: they are dense."""
    num_positions: int | None = None
    """Length of the longest text of the engine; None is as many as the model has positions."""
    num_labels = 0
    """Number of scores of its classification head; 0 is none."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vocab_size, self.max_positions = config.vocab_size, config.max_position_embeddings
        self.hidden_size = config.hidden_size
        self.num_embeddings = config.vocab_size
        """Rows of the embedding: ids of prompts are below it. Those beyond the vocabulary are never drawn."""

    def attention_specs(self) -> tuple[AttentionSpec, ...]:
        """Returns the specs of all layers that attend: from them the K/V store is made."""
        found = (getattr(module, "spec", None) for module in self.modules())
        return tuple(spec for spec in found if isinstance(spec, AttentionSpec))

    def weights_bytes(self) -> int:
        """Returns the memory of all weights, tied ones counted once."""
        return sum(module.num_bytes for module in self.modules() if isinstance(module, Layer))

    def has_blocks(self) -> bool:
        """Returns whether any weight is multiplied as quantised blocks."""
        return any(isinstance(getattr(module, "weight", None), BlockWeight) for module in self.modules())

    def decode_bytes(self) -> int:
        """Returns the bytes of the weights that a decode step of one token reads; 0 for a model that makes no text."""
        return 0

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        """Changes: computes what depends on the config alone, once dtype and device are known."""

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:
        """Returns the hidden states after the last norm: [T] -> [T, H]."""
        raise NotImplementedError

    def see(self, *args: Any, **arrays: Any) -> Tensor:
        """Returns the vectors of one picture or video in the places of its tokens: [num_tokens, H]. The arguments are the
        arrays of its `Picture`, by name. Only models that see have this; of those that look at pictures by cross attention it
        returns the keys and values of these layers, [C, 2, P, Hkv, D] (`attention/crossed.py`)."""
        raise NotImplementedError

    def picture_row_bytes(self) -> int:
        """Returns the bytes of keys and values of one row of a picture; 0 for a model without cross attention."""
        return 0

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns the logits: [R, H] -> [R, V]. Only decoders that make text have them."""
        raise NotImplementedError

    def scores(self, pooled: Tensor) -> Tensor:
        """Returns the classification head's scores: [N, H] -> [N, labels]."""
        raise NotImplementedError


class CausalLM(Model):
    """A decoder. A family makes its `layers` and `norm` and writes `forward`; most are a `Decoder`, which has one."""

    def __init__(self, config: ModelConfig, layers: Iterable[Layer], norm: Layer, head_bias: bool = False) -> None:
        super().__init__(config)
        self.is_encoder = not config.is_causal
        self.makes_text = config.is_causal
        self.ties_embeddings = config.tie_word_embeddings
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(layers)
        self.norm = norm
        self.lm_head = Linear(config.hidden_size, config.vocab_size, head_bias, is_head=True)

    def load(self, weights: Weights) -> None:
        """Changes: all parts read their tensors.

        Where the config ties the head to the embedding, one matrix serves as both, unless the checkpoint has two that differ.
        """
        load_parts(self.layers, weights.at("layers"))
        self.norm.load(weights.at("norm"))
        embedding, head = weights.at("embed_tokens"), weights.at("lm_head")
        if not self.ties_embeddings:
            self.embed_tokens.load(embedding)
            self.lm_head.load(head)
            return
        has_head = weights.has("lm_head.weight")
        is_alone = has_head and not weights.has("embed_tokens.weight")
        self.embed_tokens.load(head if is_alone else embedding)
        self.lm_head.share(self.embed_tokens.weight)
        if has_head and not is_alone and self._differs(head):
            logger.warning("config.json ties the head to the embedding, and the file has a head of its own: that one is used")
            self.lm_head.load(head)

    def embed(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        """Returns the embeddings of a step: those of its tokens, and those that requests gave in the place of tokens."""
        x = self.scaled(self.embed_tokens(token_ids))
        return x if ctx.given is None else ctx.given.put(x)

    def scaled(self, x: Tensor) -> Tensor:
        """Returns the rows of the embedding as the first layer takes them. Here: as they are."""
        return x

    def decode_bytes(self) -> int:
        table = self.embed_tokens
        is_head = self.lm_head.num_bytes == 0  # it is another layer's
        idle = sum(module.num_idle_bytes for module in self.modules() if isinstance(module, MoE))
        return self.weights_bytes() - idle - (0 if is_head else table.num_bytes - table.num_bytes // table.num_rows)

    def _differs(self, head: Weights) -> bool:
        table = self.embed_tokens
        if isinstance(table.weight, BlockMatrix):
            other = head.kept("weight", table.num_rows, table.size)
            return other is None or not table.weight.holds(other)
        return not torch.equal(head.tensor("weight", table.num_rows, table.size), table.weight)

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns the logits: [R, H] -> [R, V]."""
        return self.lm_head(hidden)
