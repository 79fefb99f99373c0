"""Numbers of 8 bits: each code is read as torch reads it, and each number is rounded to the nearest code, also by the library."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from workbench.kernels import ops
from workbench.kernels.codes import CODES, Codes, part_of

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("level")]

FLOATS = ["fp8_e5m2", "fp8_e4m3"]
DTYPES = [torch.float32, torch.bfloat16]
every_kind = pytest.mark.parametrize("kind", CODES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@pytest.fixture(params=["compiled", "torch"])
def write(request):
    """Each way of rounding: by the library, and in torch."""
    return ops.write_codes if request.param == "compiled" else Codes.write


def make_store(kind: str, slots: int, heads: int, dim: int, dtype=torch.float32, factor: float = 1.0) -> Codes:
    """Returns a store in which each number is 1, and each scale of integers too."""
    scales = torch.ones(slots, heads) if kind == "int8" else torch.tensor(factor).expand(slots, heads)
    return Codes(torch.ones(slots, heads, dim).to(CODES[kind]), scales, dtype)


def every_code(kind: str) -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).view(CODES[kind])


def read_by_library(store: Codes, name: str, slot: int) -> torch.Tensor:
    """Returns what the library reads of a slot: the only value that a row sees is what attention returns."""
    q = torch.zeros(1, *store.shape[1:], dtype=store.dtype)
    zeros = Codes(torch.zeros_like(store.numbers.float()).to(store.numbers.dtype), store.scales, store.dtype)
    slots, starts = torch.tensor([slot]), torch.tensor([0, 1])
    match name:
        case "attend_slots":
            out, _ = ops.attend_slots(q, zeros, store, slots, starts, scale=1.0)
        case "attend_causal":
            out, _ = ops.attend_causal(q, zeros, store, slots, starts, torch.tensor([[0, 1]]), scale=1.0, window=None)
        case _:
            at = slice(slot, slot + 1)
            out, _ = ops.attend_all(q, part_of(zeros, at), part_of(store, at), scale=1.0)
    return out[0]


@every_dtype
@every_kind
@pytest.mark.parametrize("name", ["attend_slots", "attend_causal", "attend_all"])
def test_every_code_is_read_as_torch_reads_it(name, kind, dtype):
    store = make_store(kind, 3, 4, 64, dtype, factor=0.75)
    store.numbers[1] = every_code(kind).view(4, 64)
    if kind == "int8":
        store.scales[1] = torch.tensor([0.75, 3e-6, 7e7, 0.1])
    want = (every_code(kind).float().view(4, 64) * store.scales[1, :, None]).to(dtype)
    got = read_by_library(store, name, 1)
    torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(store.read(torch.tensor([1]))[0], want, rtol=0, atol=0, equal_nan=True)


def nearest(x: np.ndarray, kind: str) -> np.ndarray:
    """Returns the finite value nearest to each number of x, by a look at all of them. Of two as near it is the even code."""
    values = every_code(kind)[:128].double().numpy()
    values = values[np.isfinite(values)]  # in the order of their codes, from 0 on
    distance = np.abs(np.minimum(np.abs(x), 2 * values[-1])[:, None] - values)
    best = distance.min(1, keepdims=True) == distance
    first = best.argmax(1)
    place = np.where((best.sum(1) == 2) & (first % 2 == 1), first + 1, first)
    return np.copysign(values[place], x)


def sweep(kind: str) -> torch.Tensor:
    """Returns floats of all sizes: every code, every middle of two codes with its neighbours, and random bits."""
    values = every_code(kind)[:128].float()
    values = values[values.isfinite()]
    middles = (values[1:] + values[:-1]) / 2
    near = [torch.nextafter(middles, torch.tensor(end)) for end in (-math.inf, math.inf)]
    edges = torch.tensor([0.0, 1e-45, 1e-38, float(values[-1]) * 1.01, 1e6, 3.4e38])
    random = torch.from_numpy(np.random.default_rng(0).integers(0, 2**31, 5_000, dtype=np.int32)).view(torch.float32)
    small = torch.randn(5_000) * 2.0 ** torch.randint(-20, 18, (5_000,))
    numbers = torch.cat([values, middles, *near, edges, random[random.isfinite()], small])
    return torch.cat([numbers, -numbers])


@every_dtype
@pytest.mark.parametrize("kind", FLOATS)
def test_a_number_becomes_the_nearest_small_float_and_a_large_one_the_largest(kind, dtype, write):
    numbers = sweep(kind).to(dtype)
    numbers = numbers[numbers.isfinite()]
    numbers = numbers[: len(numbers) // 64 * 64]
    store = make_store(kind, len(numbers) // 64, 1, 64)
    write(store, torch.arange(len(numbers) // 64), numbers.view(-1, 1, 64))
    got = store.numbers.flatten().double().numpy()
    np.testing.assert_array_equal(got, nearest(numbers.double().numpy(), kind))
    limit = torch.finfo(CODES[kind]).max
    assert torch.equal(store.numbers.flatten().float(), numbers.float().clamp(-limit, limit).to(CODES[kind]).float())


@every_dtype
@pytest.mark.parametrize("kind", FLOATS)
def test_a_nan_stays_a_nan_and_infinity_becomes_the_largest(kind, dtype, write):
    rows = torch.ones(1, 1, 64, dtype=dtype)
    rows[0, 0, :4] = torch.tensor([math.nan, math.inf, -math.inf, -math.nan])
    store = make_store(kind, 2, 1, 64, dtype)
    write(store, torch.tensor([1]), rows)
    limit = torch.finfo(CODES[kind]).max
    got = store.read()[1, 0]
    torch.testing.assert_close(got[:4].float(), torch.tensor([math.nan, limit, -limit, math.nan]), equal_nan=True)
    assert (got[4:] == 1).all()


@every_dtype
@pytest.mark.parametrize("factor", [0.02, 1.0, 3.0])
def test_a_factor_divides_what_is_written_and_multiplies_what_is_read(factor, dtype, write):
    rows = (torch.randn(9, 2, 64) * factor * 100).to(dtype)
    store = make_store("fp8_e4m3", 9, 2, 64, dtype, factor)
    write(store, torch.arange(9), rows)
    want = (rows.float() / torch.tensor(factor)).clamp(-448, 448).to(torch.float8_e4m3fn)
    assert torch.equal(store.numbers.view(torch.uint8), want.view(torch.uint8))
    assert torch.equal(store.read(), (want.float() * factor).to(dtype))
    inside = rows.float().abs() < 448 * factor
    torch.testing.assert_close(store.read().float()[inside], rows.float()[inside], rtol=0.07, atol=factor * 2**-9)


ROWS = {
    "ordinary": lambda: torch.randn(7, 3, 64),
    "one large number": lambda: torch.randn(7, 3, 64).index_fill_(2, torch.tensor([3]), -3e4),
    "ties": lambda: torch.arange(-32.0, 32.0).add(0.5).expand(7, 3, 64).clone().index_fill_(2, torch.tensor([0]), 127),
    "zeros": lambda: torch.zeros(7, 3, 64),
    "tiny": lambda: torch.randn(7, 3, 64) * 1e-36,
    "huge": lambda: torch.randn(7, 3, 64) * 1e37,
}


@every_dtype
@pytest.mark.parametrize("rows", ROWS)
def test_integers_have_a_scale_for_each_token_and_head(rows, dtype, write):
    rows = ROWS[rows]().to(dtype)
    store = make_store("int8", 7, 3, 64)
    write(store, torch.arange(7), rows)
    for slot in range(7):
        for head in range(3):
            numbers = [np.float32(number) for number in rows[slot, head].tolist()]
            scale = max(map(abs, numbers)) / np.float32(127)
            codes = [round(float(number / scale)) if scale else 0 for number in numbers]
            assert float(store.scales[slot, head]) == pytest.approx(float(scale), rel=1e-6)
            assert store.numbers[slot, head].tolist() == codes
            assert (store.read()[slot, head] - rows[slot, head].float()).abs().max() <= 0.501 * scale


def test_integers_keep_their_sign_where_a_scale_has_lost_its_digits(write):
    least = 2.0**-149
    rows = (torch.arange(64.0) * 3 * least).view(1, 1, 64)  # 189 steps of the smallest float32: the scale is one
    store = make_store("int8", 1, 1, 64)
    write(store, torch.tensor([0]), rows)
    assert store.numbers.flatten().tolist() == [min(3 * i, 127) for i in range(64)]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_integers_of_a_row_that_is_not_finite_are_read_as_nan(wrong, write):
    rows = torch.randn(2, 2, 64)
    rows[1, 0, 17] = wrong
    store = make_store("int8", 2, 2, 64)
    write(store, torch.arange(2), rows)
    assert math.isnan(store.scales[1, 0])
    assert store.read()[1, 0].isnan().all()
    assert store.read()[[0, 0, 1], [0, 1, 1]].isfinite().all()
    assert read_by_library(store, "attend_slots", 1)[0].isnan().all()


@every_kind
def test_other_slots_stay_as_they_are_and_rows_may_be_strided(kind, write):
    store, wide = make_store(kind, 50, 3, 64), torch.randn(4, 5, 64)
    rows, slots = wide[:, 1:4], torch.tensor([7, 0, 49, 3])
    want = store.read()
    alone = make_store(kind, 4, 3, 64)
    write(alone, torch.arange(4), rows.contiguous())
    want[slots] = alone.read()
    write(store, slots, rows)
    assert torch.equal(store.read(), want)


@every_kind
@every_dtype
@pytest.mark.parametrize(("dim", "heads", "kv_heads"), [(64, 9, 3), (128, 4, 1), (256, 10, 2)])
def test_attention_over_codes_is_attention_over_what_they_are_read_as(dim, heads, kv_heads, dtype, kind):
    k, v = (make_store(kind, 700, kv_heads, dim, dtype, factor=0.5) for _ in range(2))
    for store in (k, v):
        Codes.write(store, torch.arange(700), torch.randn(700, kv_heads, dim))
    dense = k.read(), v.read()
    q, scale = torch.randn(61, heads, dim).to(dtype), dim**-0.5
    lengths = [1, 17, 64, 600]
    slots, starts = torch.cat([torch.randperm(700)[:n] for n in lengths]), torch.tensor([0, *lengths]).cumsum(0)
    spans = torch.tensor([(0, 1), (1, 18), (18, 20), (20, 61)])
    calls = [
        (ops.attend_slots, (q[:4],), (slots, starts), {}),
        (ops.attend_causal, (q,), (slots, starts, spans), {"window": 50}),
        (ops.attend_all, (q,), (), {}),
    ]
    for call, before, after, settings in calls:
        got, want = (call(*before, *store, *after, scale=scale, softcap=2.0, **settings) for store in ((k, v), dense))
        for mine, plain in zip(got, want, strict=True):
            assert torch.equal(mine, plain), call.__name__
