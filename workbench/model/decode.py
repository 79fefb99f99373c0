"""A decode step through all blocks of a model at once, where their form allows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from workbench.attention.base import StepContext
from workbench.attention.kv import ViewableKV
from workbench.attention.torch_fast import FastStep
from workbench.kernels.decode import DecodeLayer, DecodeLayers, DecodeShape
from workbench.kernels.products import Matrices
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.linear import BlockWeight, Linear
from workbench.model.rotary import Turn


class AtOnce:
    """The blocks of a model, and the table of them that the kernels read, made with the first step of a store."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        self._blocks = list(blocks)
        self._kv: ViewableKV | None = None
        self._layers: DecodeLayers | None = None

    def __call__(self, x: Tensor, turn: Turn, ctx: StepContext) -> Tensor | None:
        """Returns x [T, H] after all blocks, which may be x itself, changed; None where they must be called one by one.

        Every row must be a new token of a sequence that attends to a list of slots alone.
        """
        step = ctx.attention
        lists = step.lists() if isinstance(step, FastStep) else None
        if lists is None or not isinstance(step, FastStep):
            return None
        if step.kv is not self._kv:
            self._kv, self._layers = step.kv, _layers(self._blocks, step.kv)
        if self._layers is None or not x.is_contiguous():
            return None
        return x if self._layers.run(x, turn, step.step.slots, lists.slots, lists.starts) else None


def _layers(blocks: list[nn.Module], kv: ViewableKV) -> DecodeLayers | None:
    found = [_layer(block, kv) for block in blocks]
    layers = [layer for layer in found if layer is not None]
    if not layers or len(layers) < len(found):
        return None
    first = cast("Block", blocks[0])
    spec, mlp = cast("Attention", first.self_attn).spec, cast("MLP", first.mlp)
    shape = DecodeShape(spec.num_heads, spec.num_kv_heads, spec.head_size, spec.scale, mlp.activation)
    return DecodeLayers(layers, shape) if DecodeLayers.can_be(layers, shape) else None


def _layer(block: nn.Module, kv: ViewableKV) -> DecodeLayer | None:
    """Returns a block as the kernels take it; None where a part has another form."""
    if not (isinstance(block, Block) and isinstance(block.self_attn, Attention) and isinstance(block.mlp, MLP)):
        return None
    attention, mlp = block.self_attn, block.mlp
    matrices = [_matrices(part) for part in (attention.qkv, attention.o_proj, mlp.gate_up, mlp.down_proj)]
    plain = block.factor == 1 and attention.q_norm is None and attention.spec.window is None and attention.spec.softcap is None
    if not plain or None in matrices:
        return None
    qkv, o, up, down = cast("list[Matrices]", matrices)
    k, v = kv.views(attention.spec.layer)
    norms = block.input_layernorm.norm, block.post_attention_layernorm.norm
    return DecodeLayer(norms[0], qkv, o, norms[1], up, down, k, v)


def _matrices(part: Linear) -> Matrices | None:
    weight = part.weight
    is_plain = isinstance(weight, BlockWeight) and weight.matrix.is_in_order and part.bias is None
    return weight.matrix.matrices if is_plain and isinstance(weight, BlockWeight) else None
