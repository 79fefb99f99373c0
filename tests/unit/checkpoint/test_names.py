"""Our tensors among the rows of larger ones: what a plain slice, reshape or transpose gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType, quants
from torch import Tensor

from workbench.checkpoint.base import Blocks, Stored
from workbench.checkpoint.names import Change, Cut, Names, one_after_the_other
from workbench.checkpoint.sources import StoredSource, Survey
from workbench.errors import ModelCorrupt

WIDTH = 64
WHOLE = torch.randn(24, WIDTH, generator=torch.Generator().manual_seed(0))
Q8_0 = GGMLQuantizationType.Q8_0


class Held:
    """A checkpoint in memory, of one matrix: dense, or as blocks."""

    path = Path("held")

    def __init__(self, value: Tensor, is_dense: bool = True) -> None:
        self._value, self._is_dense = value, is_dense
        self.tensors = {"all.3.qkv.weight": Stored(tuple(value.shape), "F32" if is_dense else "Q8_0", is_dense)}
        self.asked: list[slice | None] = []

    def read(self, name: str, rows: slice | None = None) -> Tensor | Blocks:
        self.asked.append(rows)
        if self._is_dense:
            return self._value if rows is None else self._value[rows]
        blocks = Blocks("Q8_0", torch.from_numpy(quants.quantize(self._value.numpy(), Q8_0)), tuple(self._value.shape))
        return blocks if rows is None else blocks.cut(rows)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *error: object) -> None: ...


def read(held: Held, names: Names, part: str, *shape: int) -> Tensor:
    value = StoredSource(held, names).read(f"layers.3.{part}.weight", shape, None, None)
    return value.dense() if isinstance(value, Blocks) else value


IN_A_ROW = Names(cuts=one_after_the_other("all.*.qkv", {"layers.*.q": 12, "layers.*.k": 8, "layers.*.v": 4}))
BY_GROUP = Names(cuts={f"layers.*.{part}": Cut("all.*.qkv", 24, start, count, 12) for part, start, count in
                       (("q", 0, 6), ("k", 6, 3), ("v", 9, 3))})  # fmt: skip


def decoded(is_dense: bool) -> Tensor:
    return WHOLE if is_dense else torch.from_numpy(quants.dequantize(quants.quantize(WHOLE.numpy(), Q8_0), Q8_0))


@pytest.mark.parametrize("is_dense", [True, False])
def test_parts_in_a_row_are_slices_and_only_these_are_read(is_dense: bool):
    held, whole = Held(WHOLE, is_dense), decoded(is_dense)
    for part, rows in (("q", slice(0, 12)), ("k", slice(12, 20)), ("v", slice(20, 24))):
        assert torch.equal(read(held, IN_A_ROW, part, rows.stop - rows.start, WIDTH), whole[rows])
    assert held.asked == [slice(0, 12), slice(12, 20), slice(20, 24)]


@pytest.mark.parametrize("is_dense", [True, False])
def test_parts_of_each_group_are_taken_from_every_period(is_dense: bool):
    held, groups = Held(WHOLE, is_dense), decoded(is_dense).view(2, 12, WIDTH)
    for part, rows in (("q", slice(0, 6)), ("k", slice(6, 9)), ("v", slice(9, 12))):
        expected = groups[:, rows].reshape(-1, WIDTH)
        assert torch.equal(read(held, BY_GROUP, part, *expected.shape), expected)


@pytest.mark.parametrize("is_dense", [True, False])
def test_a_change_is_done_to_what_was_cut_out(is_dense: bool):
    backwards = Change(lambda rows: rows.flip(0), lambda rows: rows.flip(0))
    names = Names(cuts=BY_GROUP.cuts, changes={"layers.*.k": backwards})
    expected = decoded(is_dense).view(2, 12, WIDTH)[:, 6:9].reshape(-1, WIDTH).flip(0)
    assert torch.equal(read(Held(WHOLE, is_dense), names, "k", 6, WIDTH), expected)


def test_a_transposed_matrix_is_cut_by_columns_and_a_vector_is_not():
    names = Names(cuts={"layers.*.k": Cut("all.*.qkv", 24, 12, 8, is_transposed=True)})
    assert torch.equal(read(Held(WHOLE.T.contiguous()), names, "k", 8, WIDTH), WHOLE[12:20])
    vector = torch.arange(24.0)
    assert torch.equal(read(Held(vector), names, "k", 8), vector[12:20])


@pytest.mark.parametrize(
    "rows, message", [(20, r"all\.3\.qkv\.weight \[20, 64\], its configuration wants \[24, 64\]"), (24, None)]
)
def test_the_whole_is_judged_by_its_own_shape(rows: int, message: str | None):
    survey = Survey(Held(WHOLE[:rows]), IN_A_ROW)
    survey.read("layers.3.k.weight", (8, WIDTH), None, None)
    if message is None:
        survey.settle("A family")
    else:
        with pytest.raises(ModelCorrupt, match=message):
            survey.settle("A family")
