"""A layer gets its tensors by its own names: whole or in rows, dense or as blocks, from files or from a seed."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from torch import Tensor

from workbench.checkpoint.base import Blocks, Stored
from workbench.checkpoint.names import Change, Names
from workbench.checkpoint.sources import RandomSource, StoredSource, Survey, TensorSource
from workbench.checkpoint.weights import Weights
from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.model.block_matrix import side_by_side

CPU = torch.device("cpu")
Q = torch.arange(32 * 34, dtype=torch.int64).remainder(251).to(torch.uint8).view(32, 34)
"""Bytes of 32 rows with one Q8_0 block each; any bytes are valid scales."""


class Made:
    """A checkpoint whose tensors come from the test."""

    path = Path("made")

    def __init__(self, values: dict[str, Tensor | Blocks]) -> None:
        self.values = values
        self.asked: list[tuple[str, slice | None]] = []
        kinds = {name: (tuple(value.shape), isinstance(value, Blocks)) for name, value in values.items()}
        self.tensors = MappingProxyType({name: Stored(shape, "X", not packed) for name, (shape, packed) in kinds.items()})

    def read(self, name: str, rows: slice | None = None) -> Tensor | Blocks:
        self.asked.append((name, rows))
        value = self.values[name]
        if rows is None:
            return value
        if isinstance(value, Blocks):
            return value.cut(rows)
        return value[rows]

    def __enter__(self) -> Made:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def weights(source: TensorSource, dtype: torch.dtype = torch.float32) -> Weights:
    return Weights(source, dtype, CPU)


@pytest.fixture
def made() -> Made:
    up, q = torch.arange(12.0).view(4, 3), Blocks("Q8_0", Q, (32, 32))
    return Made({"x.0.up.weight": up, "x.0.q.weight": q, "left": torch.ones(1)})


NAMES = Names({"layers.*.up_proj": "x.*.up", "layers.*.q_proj": "x.*.q"}, leftovers="^left$")


def test_a_layer_asks_by_its_own_names(made: Made):
    layer = weights(StoredSource(made, NAMES), torch.bfloat16).at("layers").at("0")
    up = layer.at("gate_up").beside("up_proj").tensor("weight", 4, 3)
    assert up.dtype == torch.bfloat16
    assert torch.equal(up.float(), made.values["x.0.up.weight"])
    assert layer.at("up_proj").has("weight")
    assert not layer.at("up_proj").has("bias")


def test_a_sharded_layer_reads_its_rows_alone(made: Made):
    source = weights(StoredSource(made, NAMES)).at("layers").at("0")
    rows = source.at("up_proj").tensor("weight", 4, 3, rows=slice(1, 3))
    assert torch.equal(rows, made.values["x.0.up.weight"][1:3])
    blocks = source.at("q_proj").stored("weight", 32, 32, rows=slice(8, 16))
    assert torch.equal(blocks.data, Q[8:16])
    assert made.asked == [("x.0.up.weight", slice(1, 3)), ("x.0.q.weight", slice(8, 16))]


def test_a_quantised_layer_gets_blocks_and_a_dense_one_their_numbers(made: Made):
    source = weights(StoredSource(made, NAMES)).at("layers").at("0").at("q_proj")
    blocks = source.stored("weight", 32, 32)
    assert isinstance(blocks, Blocks)
    assert torch.equal(source.tensor("weight", 32, 32).nan_to_num(), blocks.dense().nan_to_num())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fused_layer_gets_its_parts_in_one_tensor(dtype: torch.dtype):
    dense, packed = torch.arange(96.0).view(3, 32), Blocks("Q8_0", Q & 0x3B, (32, 32))
    source = weights(StoredSource(Made({"a.weight": dense, "b.weight": packed}), Names()), dtype).at("both")
    joined = side_by_side([source.beside("a").matrix("weight", 3, 32), source.beside("b").stored("weight", 32, 32)], dtype)
    assert isinstance(joined, torch.Tensor)
    assert torch.equal(
        joined, torch.cat([source.beside("a").tensor("weight", 3, 32), source.beside("b").tensor("weight", 32, 32)])
    )
    assert (joined.dtype, joined.shape) == (dtype, (35, 32))


def test_rows_in_another_order_come_back_as_blocks_too(made: Made):
    swap = Change(undo=lambda rows: rows.flip(0), do=lambda rows: rows.flip(0))
    swapped = Names(NAMES.table, changes={"layers.*.q_proj": swap, "layers.*.up_proj": swap})
    source = weights(StoredSource(made, swapped)).at("layers").at("0")
    assert torch.equal(source.at("up_proj").tensor("weight", 4, 3, rows=slice(0, 2)), made.values["x.0.up.weight"].flip(0)[:2])
    blocks = source.at("q_proj").stored("weight", 32, 32, rows=slice(0, 4))
    assert isinstance(blocks, Blocks)
    assert (blocks.shape, torch.equal(blocks.data, Q.flip(0)[:4])) == ((4, 32), True)


def test_names_pair_by_pattern_and_prefix():
    names = Names({"layers.*.experts.*.up": "blk.*.e.*.w"}, prefixes=("model.", ""))
    assert names.renamed("layers.3.experts.12.up.weight") == "blk.3.e.12.w.weight"
    assert names.find("layers.0.other.weight", {"model.layers.0.other.weight"}) == "model.layers.0.other.weight"
    assert names.find("lm_head.weight", {"lm_head.weight"}) == "lm_head.weight"
    assert names.find("norm.weight", {"model.norm.bias"}) is None


def ask(survey: Survey, *wanted: tuple[str, tuple[int, ...]]) -> None:
    for name, shape in wanted:
        weights(survey).tensor(name, *shape)
    survey.settle("Llama")


WHOLE = (("layers.0.up_proj.weight", (4, 3)), ("layers.0.q_proj.weight", (32, 32)))


def test_a_survey_reads_nothing_and_accepts_a_checkpoint_that_is_asked_for_in_whole(made: Made):
    ask(Survey(made, NAMES), *WHOLE)
    assert made.asked == []


def test_a_survey_names_what_is_missing_then_what_is_left_then_what_does_not_fit(made: Made):
    with pytest.raises(ModelCorrupt, match=r"lacks the tensor x\.1\.up\.weight, and has the tensor x\.0\.q\.weight, which"):
        ask(Survey(made, NAMES), WHOLE[0], ("layers.1.up_proj.weight", (4, 3)))
    with pytest.raises(ModelUnsupported, match=r"made has the tensor x\.0\.q\.weight, which Llama does not read"):
        ask(Survey(made, NAMES), (WHOLE[0][0], (5, 3)))
    with pytest.raises(ModelUnsupported, match=r"has 2 tensors, x\.0\.q\.weight first"):
        ask(Survey(made, Names(NAMES.table)), WHOLE[0])
    with pytest.raises(ModelCorrupt, match=r"has x\.0\.up\.weight \[4, 3\], its configuration wants \[5, 3\] for layers"):
        ask(Survey(made, NAMES), (WHOLE[0][0], (5, 3)), WHOLE[1])


def test_random_weights_depend_on_seed_and_name_alone():
    def draw(seed: int, name: str, rows: slice | None = None) -> Tensor:
        return weights(RandomSource(seed)).at(name).tensor("weight", 6, 4, rows=rows)

    assert torch.equal(draw(1, "a"), draw(1, "a"))
    assert not torch.equal(draw(1, "a"), draw(1, "b"))
    assert not torch.equal(draw(1, "a"), draw(2, "a"))
    assert torch.equal(draw(1, "a", slice(2, 4)), draw(1, "a")[2:4])
    assert torch.equal(weights(RandomSource(1)).tensor("weight", 3, neutral=1.0), torch.ones(3))
    assert not weights(RandomSource(1)).has("weight")
