"""A decode step through all blocks of a model at once, where their form allows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from workbench.attention.base import StepContext
from workbench.attention.kv import ViewableKV
from workbench.attention.torch_fast import FastStep
from workbench.kernels.decode import DecodeLayer, DecodeLayers, DecodeShape
from workbench.kernels.products import Matrices
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.layers import RMSNorm
from workbench.model.linear import BlockWeight, Linear
from workbench.model.rotary import Turn


class AtOnce:
    """The blocks of a model, and the table of them that the kernels read, made with the first step of a store."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        self._blocks = list(blocks)
        self._kv: ViewableKV | None = None
        self._layers: DecodeLayers | None = None

    def __call__(self, x: Tensor, turns: Sequence[Turn | None], ctx: StepContext) -> Tensor | None:
        """Returns x [T, H] after all blocks, which may be x itself, changed; None where they must be called one by one.

        Every row must be a new token of a sequence that attends to a list of slots alone, and every block turn it alike.
        """
        step = ctx.attention
        lists = step.lists() if isinstance(step, FastStep) else None
        if lists is None or not isinstance(step, FastStep):
            return None
        if step.kv is not self._kv:
            self._kv, self._layers = step.kv, _layers(self._blocks, step.kv)
        turn = turns[0]
        if self._layers is None or turn is None or not x.is_contiguous():
            return None
        head_size = cast("Attention", cast("Block", self._blocks[0]).self_attn).spec.head_size
        if any(other is not turn for other in turns) or turn[0].shape[-1] != head_size:
            return None
        return x if self._layers.run(x, turn, step.step.slots, lists.slots, lists.starts) else None


def _layers(blocks: list[nn.Module], kv: ViewableKV) -> DecodeLayers | None:
    found = [_layer(block, kv) for block in blocks]
    layers = [layer for layer in found if layer is not None]
    if not layers or len(layers) < len(found):
        return None
    first = cast("Block", blocks[0])
    specs = [cast("Attention", cast("Block", block).self_attn).spec for block in blocks]
    spec, mlp = specs[0], cast("MLP", first.mlp)
    if any(replace(other, layer=spec.layer) != spec for other in specs):
        return None
    shape = DecodeShape(spec.num_heads, spec.num_kv_heads, spec.head_size, spec.scale, mlp.activation)
    return DecodeLayers(layers, shape) if DecodeLayers.can_be(layers, shape) else None


def _layer(block: nn.Module, kv: ViewableKV) -> DecodeLayer | None:
    """Returns a block as the kernels take it; None where a part has another form."""
    if not (
        type(block) is Block and type(block.self_attn) is Attention and isinstance(block.mlp, MLP) and block.added_scale == 1
    ):
        return None
    attention, mlp = block.self_attn, block.mlp
    before, between = block.input_layernorm, block.post_attention_layernorm
    if not (isinstance(before, RMSNorm) and isinstance(between, RMSNorm)):
        return None
    matrices = [_matrices(part) for part in (attention.qkv, attention.o_proj, mlp.gate_up, mlp.down_proj)]
    spec = attention.spec
    plain = spec.window is None and spec.softcap is None
    plain = plain and attention.q_norm is None and attention.clip is None and not attention.has_sinks
    if not plain or None in matrices:
        return None
    qkv, o, up, down = cast("list[Matrices]", matrices)
    k, v = kv.views(attention.spec.layer)
    return DecodeLayer(before.norm, qkv, o, between.norm, up, down, k, v)


def _matrices(part: Linear) -> Matrices | None:
    weight = part.weight
    is_plain = isinstance(weight, BlockWeight) and weight.matrix.is_in_order and part.bias is None
    return weight.matrix.matrices if is_plain and isinstance(weight, BlockWeight) else None
