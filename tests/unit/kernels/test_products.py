"""Products with quantised blocks: near the dense product, and to the bit independent of whatever else is computed."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from workbench.bench.random_blocks import random_blocks
from workbench.checkpoint.base import Blocks
from workbench.kernels import compiled, isa
from workbench.kernels.ops import Norm, silu_mul
from workbench.kernels.products import FORMATS, REAL
from workbench.model.block_matrix import BlockMatrix

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("level")]

every_type = pytest.mark.parametrize("name", FORMATS)


def quantised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns x in steps of its group's scale, and the scales: float64 [T, in / 32, 32] and [T, in / 32, 1]."""
    groups = x.double().view(len(x), -1, 32)
    scale = groups.abs().amax(-1, keepdim=True) / 127
    return groups, scale


INPUTS = {
    "ordinary": lambda shape: torch.randn(shape),
    "one large number": lambda shape: torch.randn(shape).index_fill_(1, torch.tensor([3]), 3e4),
    "zeros": lambda shape: torch.zeros(shape),
    "tiny": lambda shape: torch.randn(shape) * 1e-20,
    "huge": lambda shape: torch.randn(shape) * 1e20,
    "all at the limit": lambda shape: torch.full(shape, 2.5),
    "both limits": lambda shape: torch.full(shape, -2.5).index_fill_(1, torch.arange(0, shape[1], 2), 2.5),
}


@every_type
@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize(("num_rows", "num_out", "blocks"), [(1, 5, 1), (3, 40, 2), (29, 67, 3)])
def test_a_product_is_as_near_to_the_dense_one_as_eight_bits_allow(name, kind, num_rows, num_out, blocks):
    weight = random_blocks(name, num_out, blocks * 256)
    dense, x = weight.dense().double(), INPUTS[kind]((num_rows, blocks * 256))
    groups, scale = quantised(x)
    step = scale.expand_as(groups).reshape(x.shape)
    rounding = 1e-5 * (x.double().abs() @ dense.abs().T)
    bound = rounding if name in REAL else step / 2 @ dense.abs().T + rounding
    error = (BlockMatrix([weight]).multiply(x).double() - x.double() @ dense.T).abs()
    assert (error <= bound).all(), (error - bound).max()


@every_type
def test_whole_numbers_that_eight_bits_hold_are_multiplied_exactly(name):
    """So an error of one step anywhere in the sums of whole numbers would show."""
    weight = random_blocks(name, 33, 512)
    x = torch.randint(-127, 128, (14, 512)).float()
    x[:, ::32] = 127
    want = x.double() @ weight.dense().double().T
    size = x.double().abs() @ weight.dense().double().abs().T
    assert ((BlockMatrix([weight]).multiply(x).double() - want).abs() <= 1e-6 * size).all()


@every_type
def test_a_row_does_not_depend_on_other_rows_the_chunk_or_the_threads(name):
    matrix, x = BlockMatrix([random_blocks(name, 100, 768)]), torch.randn(70, 768)
    whole = matrix.multiply(x)
    for start, stop in [(0, 1), (1, 3), (3, 10), (10, 22), (22, 30), (30, 43), (43, 70), (69, 70)]:
        assert torch.equal(matrix.multiply(x[start:stop]), whole[start:stop]), (start, stop)
    num_threads = torch.get_num_threads()
    try:
        for num in (1, 3):
            torch.set_num_threads(num)
            assert torch.equal(matrix.multiply(x), whole)
            assert torch.equal(matrix.multiply(x[:2]), whole[:2])
    finally:
        torch.set_num_threads(num_threads)


@every_type
def test_instruction_sets_agree_to_the_bit(name, level, use):
    matrix, x = BlockMatrix([random_blocks(name, 37, 512)]), torch.randn(15, 512)
    here = matrix.multiply(x)
    use(isa.available()[0])
    assert torch.equal(matrix.multiply(x), here)


@every_type
def test_rows_are_read_as_the_dense_form_has_them(name):
    weight = random_blocks(name, 50, 512)
    ids = torch.randint(0, 50, (21,))
    assert torch.equal(BlockMatrix([weight]).rows(ids, torch.float32), weight.dense()[ids])
    assert torch.equal(BlockMatrix([weight]).rows(ids, torch.bfloat16), weight.dense()[ids].bfloat16())
    assert BlockMatrix([weight]).rows(ids[:0], torch.float32).shape == (0, 512)


def test_parts_of_several_types_stand_side_by_side_in_their_own_order():
    order = torch.randperm(48)
    parts = [random_blocks("Q4_K", 20, 256), random_blocks("Q6_K", 48, 256), random_blocks("Q5_0", 7, 256)]
    parts[1] = Blocks(parts[1].type, parts[1].data, parts[1].shape, order)
    x = torch.randn(3, 2, 256)
    together = BlockMatrix(parts).multiply(x)
    assert together.shape == (3, 2, 75)
    assert torch.equal(together, torch.cat([BlockMatrix([part]).multiply(x) for part in parts], -1))
    dense = torch.cat([part.dense() for part in parts])
    assert (together - x @ dense.T).norm() < 0.02 * (x @ dense.T).norm()
    assert torch.equal(BlockMatrix([parts[1]]).rows(torch.arange(48), torch.float32), parts[1].dense())


def test_bfloat16_rows_are_those_of_float32_rounded():
    matrix, x = BlockMatrix([random_blocks("Q4_1", 64, 512)]), torch.randn(5, 512).bfloat16()
    assert torch.equal(matrix.multiply(x), matrix.multiply(x.float()).bfloat16())


def test_numbers_that_are_none_stay_so_and_reach_no_other_row():
    matrix, x = BlockMatrix([random_blocks("Q4_0", 20, 256)]), torch.randn(3, 256)
    want = matrix.multiply(x)
    x[1, 40] = float("nan")
    got = matrix.multiply(x)
    assert got[1].isnan().all()
    assert torch.equal(got[[0, 2]], want[[0, 2]])
    x[1, 40] = float("inf")
    assert not matrix.multiply(x)[1].isfinite().any()


def test_no_rows_give_no_results():
    assert BlockMatrix([random_blocks("Q8_0", 20, 256)]).multiply(torch.randn(0, 256)).shape == (0, 20)


@every_type
def test_without_kernels_torch_multiplies_the_dense_form(name, monkeypatch):
    monkeypatch.setattr(compiled.kernels, "used", None)
    weight, x = random_blocks(name, 20, 256), torch.randn(4, 256)
    matrix = BlockMatrix([weight, weight])
    torch.testing.assert_close(matrix.multiply(x), x @ torch.cat([weight.dense()] * 2).T)
    assert torch.equal(matrix.rows(torch.tensor([3, 3, 9]), torch.float32), weight.dense()[[3, 3, 9]])


@pytest.mark.parametrize("width", [32, 512])
@pytest.mark.parametrize("num_threads", [1, 2, 3, 64])
def test_more_rows_than_are_quantised_at_a_time(num_threads, width):
    matrix, x = BlockMatrix([random_blocks("Q8_0", 40, width)]), torch.randn(1200, width)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(num_threads)  # one, two and three take pieces of their own
        whole = matrix.multiply(x)
    finally:
        torch.set_num_threads(before)
    for start in (0, 149, 150, 515, 516, 1199):
        assert torch.equal(matrix.multiply(x[start : start + 1]), whole[start : start + 1])


both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
MIXED = ["Q4_1", "Q6_K", "BF16", "INT8_128"]


@both_types
@pytest.mark.parametrize("num_rows", [1, 7, 30, 600])
def test_a_norm_and_a_sum_in_the_call_of_a_product_change_no_bit(num_rows, dtype):
    parts = [random_blocks(name, 40, 512, seed) for seed, name in enumerate(MIXED)]
    parts[1] = Blocks(parts[1].type, parts[1].data, parts[1].shape, torch.randperm(40))
    matrix, x, more = BlockMatrix(parts), torch.randn(num_rows, 512).to(dtype), torch.randn(num_rows, 160).to(dtype)
    norm = Norm(torch.rand(512).to(dtype), 1e-5)
    assert torch.equal(matrix.multiply(x, norm, more), matrix.multiply(norm(x)) + more)


@both_types
@pytest.mark.parametrize("num_rows", [1, 7, 30, 600])
@pytest.mark.parametrize("name", MIXED)
def test_a_gated_layer_in_one_call_has_the_bits_of_its_steps(name, num_rows, dtype):
    up, down = (
        BlockMatrix([random_blocks(name, 256, 512), random_blocks("Q4_0", 256, 512)]),
        BlockMatrix([random_blocks(name, 70, 256)]),
    )
    x, more = torch.randn(num_rows, 512).to(dtype) * 20, torch.randn(num_rows, 70).to(dtype)
    norm = Norm(torch.rand(512).to(dtype), 1e-5)
    want = down.multiply(silu_mul(up.multiply(norm(x))))
    assert torch.equal(up.gated(x, down, "silu", norm, more), want + more)
    assert torch.equal(up.gated(norm(x), down, "silu", None, None), want)


@both_types
def test_the_gate_of_gemma_is_that_of_torch(dtype):
    up, down = BlockMatrix([random_blocks("Q8_0", 256, 256)]), BlockMatrix([random_blocks("Q8_0", 32, 128)])
    x = torch.randn(9, 256).to(dtype) * torch.logspace(-3, 3, 9)[:, None].to(dtype)
    gate, more = up.multiply(x).float().chunk(2, -1)
    want = down.multiply((F.gelu(gate, approximate="tanh") * more).to(dtype))
    got = up.gated(x, down, "gelu_pytorch_tanh", None, None)
    torch.testing.assert_close(got, want, rtol=0.02, atol=0.01 * float(want.abs().max()))
    assert up.gated(x, down, "gelu", None, None) is None, "another formula"
