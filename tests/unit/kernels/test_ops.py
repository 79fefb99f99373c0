"""Every compiled operation equals plain torch, for each instruction set here, on sizes that do and do not fill vectors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from workbench.kernels import compiled, decode, ops, products

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("level")]

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 8e-3}
both_types = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def assert_same(got, want):
    tolerance = TOLERANCE.get(got.dtype, 0)
    torch.testing.assert_close(got, want.to(got.dtype), rtol=tolerance, atol=tolerance)


@both_types
@pytest.mark.parametrize("shape", [(1, 64), (33, 576), (5, 3, 32)])
def test_rms_norm(shape, dtype):
    x, weight = torch.randn(shape).to(dtype), torch.randn(shape[-1]).to(dtype)
    assert_same(ops.rms_norm(x, weight, 1e-5), F.rms_norm(x.float(), weight.shape, weight.float(), 1e-5))


@both_types
def test_rotate_turns_each_pair_of_a_strided_row(dtype):
    qkv = torch.randn(19, 4 * 64).to(dtype)
    x = qkv[:, :128].unflatten(-1, (2, 64))
    angles = torch.randn(19, 1, 32)
    cos, sin = (f(angles).repeat(1, 1, 2).to(dtype) for f in (torch.cos, torch.sin))
    turned = torch.view_as_complex(torch.stack((x[..., :32].float(), x[..., 32:].float()), -1))
    turned = turned * torch.complex(cos[..., :32].float(), sin[..., :32].float())
    assert_same(ops.rotate(x, cos, sin), torch.cat((turned.real, turned.imag), -1))


@both_types
def test_silu_mul_also_far_from_zero(dtype):
    gate_up = (torch.randn(9, 2 * 96) * 30).to(dtype)
    gate, up = gate_up.float().chunk(2, -1)
    got, want = ops.silu_mul(gate_up), F.silu(gate) * up
    torch.testing.assert_close(got.float(), want, rtol=TOLERANCE[dtype], atol=1e-6)


@both_types
@pytest.mark.parametrize(
    ("width", "visible", "window"), [(5, None, None), (64, None, None), (100, 37, None), (100, 37, 20), (40, 1, 7)]
)
def test_softmax_hides_what_a_row_may_not_see(width, visible, window, dtype):
    scores = (torch.randn(2, 12, width) * 4).to(dtype)
    plain = scores.float() * 0.5
    for row in range(12):
        end = width if visible is None else min(width, visible + row // 3)
        plain[:, row, end:] = float("-inf")
        plain[:, row, : max(0, end - (window or width))] = float("-inf")
    weights, lse = ops.softmax_(scores, scale=0.5, group=3, visible=visible, window=window, with_lse=True)
    assert_same(weights, plain.softmax(-1))
    torch.testing.assert_close(lse, plain.logsumexp(-1), rtol=1e-5, atol=1e-5)


@both_types
@pytest.mark.parametrize("dim", ops.HEAD_SIZES)
@pytest.mark.parametrize(("heads", "kv_heads", "softcap"), [(9, 3, None), (4, 1, 1.5), (2, 2, None), (10, 2, None)])
def test_attend_slots_reads_scattered_slots_in_place(heads, kv_heads, dim, dtype, softcap):
    k, v = (torch.randn(3000, kv_heads, dim).to(dtype) for _ in range(2))
    lengths = [1, 17, 64, 65, 1300]
    slots = torch.cat([torch.randperm(3000)[:n] for n in lengths])
    starts = torch.tensor([0, *lengths]).cumsum(0)
    q = torch.randn(len(lengths), 3 * heads, dim).to(dtype)[:, heads : 2 * heads]
    out, lse = ops.attend_slots(q, k, v, slots, starts, scale=dim**-0.5, softcap=softcap)
    for row, here in enumerate(slots.split(lengths)):
        keys, values = (x[here].float().repeat_interleave(heads // kv_heads, 1) for x in (k, v))
        scores = capped(torch.einsum("hd,shd->hs", q[row].float(), keys) * dim**-0.5, softcap)
        assert_same(out[row], torch.einsum("hs,shd->hd", scores.softmax(-1), values))
        torch.testing.assert_close(lse[row], scores.logsumexp(-1), rtol=1e-5, atol=1e-5)


def capped(scores, softcap):
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


def plain_attention(q, k, v, *, hidden=None, softcap=None):
    """Computes q [n, Hq, D], k, v [S, Hkv, D] -> out [n, Hq, D], lse [n, Hq] in float32, without the columns `hidden` [n, S]."""
    keys, values = (x.float().repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    scores = capped(torch.einsum("nhd,shd->nhs", q.float(), keys) * q.shape[-1] ** -0.5, softcap)
    if hidden is not None:
        scores.masked_fill_(hidden[:, None], float("-inf"))
    return torch.einsum("nhs,shd->nhd", scores.softmax(-1), values), scores.logsumexp(-1)


@both_types
@pytest.mark.parametrize("dim", ops.HEAD_SIZES)
@pytest.mark.parametrize(("heads", "kv_heads", "softcap"), [(9, 3, None), (4, 1, 1.5), (2, 2, None), (10, 2, None)])
def test_attend_all_over_a_part_of_a_store(heads, kv_heads, dim, dtype, softcap):
    k, v = (torch.randn(300, kv_heads, dim).to(dtype)[40:] for _ in range(2))
    for num_rows, length in ((1, 1), (5, 64), (33, 260)):
        q = torch.randn(num_rows, 2 * heads, dim).to(dtype)[:, heads:]
        out, lse = ops.attend_all(q, k[:length], v[:length], scale=dim**-0.5, softcap=softcap)
        want, want_lse = plain_attention(q, k[:length], v[:length], softcap=softcap)
        assert_same(out, want)
        torch.testing.assert_close(lse, want_lse, rtol=1e-5, atol=1e-5)


@both_types
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (1, None), (7, 1.5), (100, None), (None, 1.5)])
@pytest.mark.parametrize(("dim", "heads", "kv_heads"), [(64, 9, 3), (128, 4, 1), (256, 5, 1)])
def test_attend_causal_over_scattered_slots(dim, heads, kv_heads, window, softcap, dtype):
    k, v = (torch.randn(900, kv_heads, dim).to(dtype) for _ in range(2))
    q = torch.randn(230, heads, dim).to(dtype)
    spans, lengths = [(0, 1), (1, 18), (30, 230), (19, 21)], [1, 80, 200, 300]  # rows 18 and 21 to 29 belong to no span
    slots = torch.cat([torch.randperm(900)[:n] for n in lengths])
    starts = torch.tensor([0, *lengths]).cumsum(0)
    scale = dim**-0.5
    out, lse = ops.attend_causal(q, k, v, slots, starts, torch.tensor(spans), scale=scale, window=window, softcap=softcap)
    for (first, end), length, here in zip(spans, lengths, slots.split(lengths), strict=True):
        own = torch.arange(length - (end - first), length)[:, None]
        column = torch.arange(length)
        hidden = (column > own) | (column <= own - (window or length))
        want, want_lse = plain_attention(q[first:end], k[here], v[here], hidden=hidden, softcap=softcap)
        assert_same(out[first:end], want)
        torch.testing.assert_close(lse[first:end], want_lse, rtol=1e-5, atol=1e-5)


@both_types
@pytest.mark.parametrize("width", [7, 64, 1000, 49152])
def test_mask_rows_hides_what_has_no_bit(width, dtype):
    x = torch.randn(5, width).to(dtype)
    x[1, 3] = float("nan")
    allowed = np.random.default_rng(0).random((5, width)) < np.array([[0], [1], [0.5], [0.001], [0.999]])
    bits = np.zeros((5, -(-width // 32) * 32), dtype=np.uint8)
    bits[:, :width] = allowed
    masks = np.packbits(bits, axis=1, bitorder="little").view(np.int32)
    want = x.clone().masked_fill_(torch.from_numpy(~allowed), float("-inf"))
    ops.mask_rows_(x, masks)
    torch.testing.assert_close(x, want, rtol=0, atol=0, equal_nan=True)


@both_types
def test_argmax_is_the_first_of_the_largest_and_nan_is_larger(dtype):
    x = torch.randn(40, 1000).mul_(3).round_().to(dtype)  # many equals
    x[3, 999] = x[4, 0] = x[4, 1] = 100
    x[5, 17] = x[5, 600] = float("nan")
    x[6] = float("-inf")
    x[7, 5] = float("inf")
    for part in (x, x[:, :64].contiguous(), x[:1, :7].contiguous()):
        best, peak = ops.argmax(part)
        want = part.float().numpy().argmax(-1)
        assert best.tolist() == want.tolist()
        torch.testing.assert_close(peak, part.float()[range(len(part)), want], equal_nan=True)


@both_types
@pytest.mark.parametrize("width", [64, 96, 1000, 4128])
def test_argmax_of_what_a_mask_allows(width, dtype):
    x = torch.randn(7, width).mul_(3).round_().to(dtype)
    allowed = np.random.default_rng(2).random((7, width)) < np.array([[0], [1], [0.5], [0.002], [0.999], [0.3], [0.3]])
    allowed[5, 50], allowed[6, 50] = False, True
    x[5:, 50] = float("nan")
    bits = np.zeros((7, -(-width // 32) * 32), dtype=np.uint8)
    bits[:, :width] = allowed
    best, peak = ops.argmax(x.clone(), np.packbits(bits, axis=1, bitorder="little").view(np.int32))
    left = x.float().masked_fill(torch.from_numpy(~allowed), float("-inf"))
    assert best.tolist() == left.numpy().argmax(-1).tolist()
    torch.testing.assert_close(peak, left[range(7), best], rtol=0, atol=0, equal_nan=True)


@both_types
@pytest.mark.parametrize("width", [64, 96, 4096])
@pytest.mark.parametrize("is_masked", [False, True])
def test_look_tells_the_largest_in_order_entropy_and_rank_of_the_rows_it_is_asked_for(width, is_masked, dtype):
    x = torch.randn(7, width).mul_(3).to(dtype)
    x[2, 5] = x[2, 9] = x[2, 60] = 40  # equals: the first one comes first
    rows, tokens = [6, 2, 0], [1, 9, width - 1]
    allowed = np.random.default_rng(1).random((3, width)) < np.array([[0.02], [0.5], [1.0]])
    allowed[:, [0, 5, 40, 41, 60]] = True
    masks = np.packbits(allowed, axis=1, bitorder="little").view(np.int32)
    found = ops.look(x, rows, tokens, masks if is_masked else None, 4)
    assert found is not None
    for i, (row, token) in enumerate(zip(rows, tokens, strict=True)):
        values = x[row].double().masked_fill(torch.from_numpy(~allowed[i] & is_masked), -torch.inf)
        logprobs = values.log_softmax(-1)
        order = sorted(range(width), key=lambda at: (-float(values[at]), at))[:4]
        assert found.ids[i].tolist() == order
        assert found.logits[i].tolist() == [float(values[at]) for at in order]
        assert found.lse[i] == pytest.approx(float(values.logsumexp(-1)), rel=1e-5)
        assert found.entropy[i] == pytest.approx(-float((logprobs.exp() * logprobs.clamp_min(-1e9)).sum()), rel=1e-4, abs=1e-5)
        assert found.num_higher[i] == int((values > x[row, token].double()).sum())
        assert found.own[i] == float(x[row, token])


@both_types
def test_write_slots_changes_these_slots_alone(dtype):
    store, rows = torch.randn(50, 3, 64).to(dtype), torch.randn(4, 5, 64).to(dtype)[:, 1:4]
    want, slots = store.clone(), torch.tensor([7, 0, 49, 3])
    want[slots] = rows
    ops.write_slots(store, slots, rows)
    assert torch.equal(store, want)


@both_types
def test_merge_of_two_parts_equals_one_softmax(dtype):
    scores, values = torch.randn(7, 4, 50) * 5, torch.randn(7, 4, 50, 32)
    parts = [(scores[..., part], values[..., part, :]) for part in (slice(0, 20), slice(20, 50))]
    (out, lse), other = ((torch.einsum("ths,thsd->thd", s.softmax(-1), v).to(dtype), s.logsumexp(-1)) for s, v in parts)
    ops.merge_(out, lse, *other)
    assert_same(out, torch.einsum("ths,thsd->thd", scores.softmax(-1), values))
    torch.testing.assert_close(lse, scores.logsumexp(-1))


@both_types
def test_a_nan_stays_a_nan(dtype):
    x = torch.full((2, 64), float("nan"), dtype=dtype)
    assert ops.rms_norm(x, torch.ones(64, dtype=dtype), 1e-5).isnan().all()
    assert ops.silu_mul(x).isnan().all()
    assert ops.softmax_(x[None].clone(), scale=1.0, with_lse=False)[0].isnan().all()


def test_other_sizes_and_types_go_through_torch():
    x = torch.randn(3, 20)
    assert_same(ops.rms_norm(x, torch.ones(20), 1e-5), F.rms_norm(x, (20,), None, 1e-5))
    assert ops.rms_norm(x.half(), torch.ones(20).half(), 1e-5).dtype == torch.float16
    assert (
        ops.attend_slots(torch.randn(1, 2, 32), *torch.randn(2, 4, 2, 32), torch.tensor([1]), torch.tensor([0, 1]), scale=1)
        is None
    )


def test_every_operation_of_the_library_is_called_by_one_here():
    sources = "".join(Path(module.__file__).read_text() for module in (ops, products, decode))
    called = set(re.findall(r'(?:compiled|_attend)\("(\w+)"', sources))
    assert set(compiled.kernels.used.operations) == {(name, dtype) for name in called for dtype in ops.NAMES.values()}
