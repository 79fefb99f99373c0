"""A decode step through all blocks of a model at once, where their form allows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import Tensor, nn

from workbench.attention.base import StepContext
from workbench.attention.kv import ViewableKV
from workbench.attention.spec import AttentionSpec
from workbench.attention.torch_fast import FastStep
from workbench.kernels.decode import DecodeLayer, DecodeLayers, DecodeShape
from workbench.kernels.ops import Norm
from workbench.kernels.products import Matrices
from workbench.model.blocks import MLP, Attention, Block, SandwichBlock
from workbench.model.layer import Layer
from workbench.model.layers import RMSNorm
from workbench.model.linear import BlockWeight, Linear
from workbench.model.rope import Rope
from workbench.model.rotary import Turn


def one_by_one(blocks: Iterable[nn.Module], x: Tensor, turns: Sequence[Turn | None], ctx: StepContext) -> Tensor:
    """Returns x [T, H] after all blocks."""
    for block, turn in zip(blocks, turns, strict=True):
        x = block(x, turn, ctx)
    return x


class AtOnce:
    """The blocks of a model, and the table of them that the kernels read, made with the first step of a store."""

    def __init__(self, blocks: Iterable[nn.Module], ropes: Sequence[Rope | None]) -> None:
        """Takes the blocks and the rotary embedding of each."""
        self._blocks, self._ropes = list(blocks), ropes
        self._kv: ViewableKV | None = None
        self._table: _Table | None = None

    def or_one_by_one(self, x: Tensor, turns: Sequence[Turn | None], ctx: StepContext) -> Tensor:
        """Returns x [T, H] after all blocks, which may be x itself, changed."""
        done = self(x, turns, ctx)
        return one_by_one(self._blocks, x, turns, ctx) if done is None else done

    def __call__(self, x: Tensor, turns: Sequence[Turn | None], ctx: StepContext) -> Tensor | None:
        """Returns x [T, H] after all blocks, which may be x itself, changed; None where they must be called one by one.

        Every row must be the new token of a decoding sequence. `turns` has one entry for each block.
        """
        step = ctx.attention
        if not isinstance(step, FastStep) or ctx.adapted is not None:
            return None
        if step.kv is not self._kv:
            self._kv, self._table = step.kv, _table(self._blocks, self._ropes, step.kv)
        table = self._table
        if table is None or not x.is_contiguous():
            return None
        contexts = [context for window in table.windows if (context := step.decode_context(window)) is not None]
        chosen = [turn for place in table.first_of_turn if (turn := turns[place]) is not None]
        if len(contexts) < len(table.windows) or any(cos.shape[-1] != table.head_size for cos, _ in chosen):
            return None
        return x if table.layers.run(x, chosen, step.step.slots, contexts) else None


class _Table:
    """The layers, and of what they differ in: the windows, and for each rotary embedding the first layer that has it."""

    def __init__(self, layers: DecodeLayers, head_size: int, windows: list[int | None], first_of_turn: list[int]) -> None:
        self.layers, self.head_size, self.windows, self.first_of_turn = layers, head_size, windows, first_of_turn


def _table(blocks: list[nn.Module], ropes: Sequence[Rope | None], kv: ViewableKV) -> _Table | None:
    """Returns the table of blocks that the kernels compute; None where one has another form."""
    attentions = [block.self_attn for block in blocks if isinstance(block, Block | SandwichBlock)]
    specs = [attention.spec for attention in attentions if isinstance(attention, Attention)]
    if not specs or len(specs) < len(blocks) or None in ropes:
        return None
    windows, kinds = list(dict.fromkeys(spec.window for spec in specs)), list(dict.fromkeys(ropes))
    layers = [
        _layer(block, kv, kinds.index(rope), windows.index(spec.window))
        for block, rope, spec in zip(blocks, ropes, specs, strict=True)
    ]
    found = [layer for layer in layers if layer is not None]
    if len(found) < len(layers):
        return None
    shape = _shape(blocks, specs)
    if shape is None or not DecodeLayers.can_be(found, shape):
        return None
    return _Table(DecodeLayers(found, shape), shape.head_size, windows, [list(ropes).index(kind) for kind in kinds])


def _shape(blocks: list[nn.Module], specs: list[AttentionSpec]) -> DecodeShape | None:
    """Returns what all layers have in common; None where they differ in it."""
    activations = {block.mlp.activation for block in blocks if isinstance(block.mlp, MLP)}
    spec = specs[0]
    if len({replace(one, layer=0, window=None) for one in specs}) > 1 or len(activations) > 1:
        return None
    return DecodeShape(spec.num_heads, spec.num_kv_heads, spec.head_size, spec.scale, spec.softcap, activations.pop())


def _layer(block: nn.Module, kv: ViewableKV, turn: int, context: int) -> DecodeLayer | None:
    """Returns a block as the kernels take it; None where a part has another form."""
    if type(block) is Block and block.added_scale == 1:
        norms: list[Layer | None] = [block.input_layernorm, None, block.post_attention_layernorm, None]
    elif type(block) is SandwichBlock:
        after, last = block.post_attention_layernorm, block.post_feedforward_layernorm
        norms = [block.input_layernorm, after, block.pre_feedforward_layernorm, last]
    else:
        return None
    attention, mlp = block.self_attn, block.mlp
    if type(attention) is not Attention or type(mlp) is not MLP or attention.clip is not None or attention.has_sinks:
        return None
    if attention.spec.bias is not None:
        return None
    norms += [attention.q_norm, attention.k_norm]
    matrices = [_matrices(part) for part in (attention.qkv, attention.o_proj, mlp.gate_up, mlp.down_proj)]
    if any(norm is not None and type(norm) is not RMSNorm for norm in norms):
        return None
    if None in matrices or any(part.bias is not None for part in (attention.o_proj, mlp.gate_up, mlp.down_proj)):
        return None
    before, after_attention, between, after_mlp, q_norm, k_norm = map(_norm, norms)
    qkv, o, up, down = (one for one in matrices if one is not None)
    k, v = kv.views(attention.spec.layer)
    return DecodeLayer(
        attention_norm=before, qkv=qkv, qkv_bias=attention.qkv.bias, q_norm=q_norm, k_norm=k_norm, o=o,
        attention_after=after_attention, mlp_norm=between, up=up, down=down, mlp_after=after_mlp, k=k, v=v,
        turn=turn, context=context,
    )  # fmt: skip


def _norm(layer: Layer | None) -> Norm | None:
    return layer.norm if isinstance(layer, RMSNorm) else None


def _matrices(part: Linear) -> Matrices | None:
    weight = part.weight
    return weight.matrix.matrices if isinstance(weight, BlockWeight) and weight.matrix.is_in_order else None
