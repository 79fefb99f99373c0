"""Attention over one K/V head whose values are the first numbers of its keys, and experts at once, equal plain torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.kernels import codes, ops, products

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("level")]
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2}
both_types = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
SCALE = 0.2


def plain(q: Tensor, k: Tensor, v_size: int, end: int, softcap: float | None) -> tuple[Tensor, Tensor]:
    """Returns attention [Hq, Dv] of one row q [Hq, D] over the first `end` of k [S, D], and its log-sum-exp [Hq]."""
    scores = q.double() @ k[:end].double().T * SCALE
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    return scores.softmax(-1) @ k[:end, :v_size].double(), scores.logsumexp(-1)


def check(got: tuple[Tensor, Tensor] | None, rows: list[int], want: list[tuple[Tensor, Tensor]], dtype: torch.dtype) -> None:
    assert got is not None
    out, lse = (torch.stack(parts).float() for parts in zip(*want, strict=True))
    torch.testing.assert_close(got[0][rows].float(), out, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    torch.testing.assert_close(got[1][rows], lse, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@both_types
@pytest.mark.parametrize(("heads", "size", "v_size"), [(4, 96, 64), (13, 576, 512), (1, 64, 32), (50, 160, 96)])
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_single_rows_over_lists_of_slots(heads, size, v_size, softcap, dtype):
    k = torch.randn(1400, 1, size).to(dtype)
    lengths = [1, 70, 1100]
    q = torch.randn(3, heads, size).to(dtype)
    slots = torch.cat([torch.randperm(1400)[:length] for length in lengths])
    starts = torch.tensor([0, 1, 71, 1171])
    got = ops.attend_slots(q, k, k[..., :v_size], slots, starts, scale=SCALE, softcap=softcap)
    want = [plain(q[i], k[slots[starts[i] : starts[i + 1]], 0], v_size, lengths[i], softcap) for i in range(3)]
    check(got, [0, 1, 2], want, dtype)


@both_types
def test_new_tokens_see_the_slots_up_to_their_own(dtype):
    k = torch.randn(300, 1, 96).to(dtype)
    q = torch.randn(1 + 70 + 9, 5, 96).to(dtype)
    spans, lengths = torch.tensor([[1, 71], [71, 80]]), [70, 131]
    slots = torch.cat([torch.randperm(300)[:length] for length in lengths])
    starts = torch.tensor([0, 70, 201])
    got = ops.attend_causal(q, k, k[..., :64], slots, starts, spans, scale=SCALE, window=None)
    want = [plain(q[1 + i], k[slots[:70], 0], 64, i + 1, None) for i in range(70)]
    want += [plain(q[71 + i], k[slots[70:], 0], 64, 131 - 9 + i + 1, None) for i in range(9)]
    check(got, list(range(1, 80)), want, dtype)


@both_types
def test_all_rows_over_neighbouring_slots(dtype):
    k, q = torch.randn(700, 1, 96).to(dtype), torch.randn(7, 5, 96).to(dtype)
    part = k[32:600]
    got = ops.attend_all(q, part, part[..., :64], scale=SCALE)
    check(got, list(range(7)), [plain(row, part[:, 0], 64, len(part), None) for row in q], dtype)


@pytest.mark.parametrize("kind", codes.CODES)
def test_codes_are_read_as_they_are(kind):
    store = codes.Codes(torch.zeros(90, 1, 96).to(codes.CODES[kind]), torch.ones(90, 1), torch.float32)
    store.write(torch.arange(90), torch.randn(90, 1, 96))
    q, slots = torch.randn(1, 3, 96), torch.randperm(90)[:80]
    got = ops.attend_slots(q, store, store.first(64), slots, torch.tensor([0, 80]), scale=SCALE)
    check(got, [0], [plain(q[0], store.read()[slots, 0], 64, 80, None)], torch.float32)


def test_values_that_are_no_part_of_the_keys_have_no_such_form():
    q, k = torch.randn(1, 3, 96), torch.randn(90, 1, 96)
    places = torch.arange(90), torch.tensor([0, 90])
    assert ops.attend_slots(q, k, torch.randn(90, 1, 64), *places, scale=SCALE) is None
    assert ops.attend_slots(q, k, k[..., 32:], *places, scale=SCALE) is None
    assert ops.attend_slots(q, k, k[..., :48], *places, scale=SCALE) is None


@both_types
@pytest.mark.parametrize(("num_rows", "top_k", "num"), [(1, 2, 8), (8, 4, 32), (40, 3, 4), (5, 1, 1)])
@pytest.mark.parametrize("activation", ["silu", "gelu_pytorch_tanh"])
def test_experts_at_once_equal_one_after_the_other(num_rows, top_k, num, activation, dtype):
    act = F.silu if activation == "silu" else lambda x: F.gelu(x, approximate="tanh")
    ups, downs = (torch.randn(num, 192, 64) / 8).to(dtype), (torch.randn(num, 64, 96) / 10).to(dtype)
    layers = []
    for i in range(num):
        up, down = products.Matrices(64), products.Matrices(96)
        name = "F32" if dtype == torch.float32 else "BF16"
        up.add(name, ups[i].view(torch.uint8), None)
        down.add(name, downs[i].view(torch.uint8), None)
        layers.append((up, down))
    x = torch.randn(num_rows, 64).to(dtype)
    chosen = torch.stack([torch.randperm(num)[: min(top_k, num)] for _ in range(num_rows)])
    weights = torch.rand(chosen.shape)
    got = products.Experts(layers, activation).multiply(x, chosen, weights)
    assert got is not None
    want = torch.zeros(num_rows, 64)
    for row in range(num_rows):
        for rank, expert in enumerate(chosen[row].tolist()):
            gate, up = (ups[expert].float() @ x[row].float()).chunk(2)
            want[row] += weights[row, rank] * (downs[expert].float() @ (act(gate) * up))
    torch.testing.assert_close(got.float(), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
