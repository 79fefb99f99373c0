"""The store of 8-bit numbers is half as large as one of bfloat16, and what it holds is near what was written."""

from __future__ import annotations

import pytest
import torch

from workbench.attention.kv import DenseKV
from workbench.attention.kv_codes import CodedKV
from workbench.attention.registry import create_store
from workbench.attention.spec import AttentionSpec
from workbench.kernels.codes import CODES

CPU = torch.device("cpu")
SPECS = [
    AttentionSpec(layer=layer, num_heads=4, num_kv_heads=2, head_size=size, v_head_size=size // 2, scale=1.0)
    for layer, size in enumerate((64, 128))
]
NUMBERS = 2 * (64 + 32 + 128 + 64)
"""Numbers of one token: heads, keys and values of both layers."""
NEAR = {"fp8_e5m2": 2**-3, "fp8_e4m3": 2**-4, "int8": 1 / 254}
"""Half a step, as a share of the number itself, and for integers of the largest of its row."""


def memory_of(store) -> int:
    """Returns the bytes of all tensors of a store; an expanded one is as large as its one number."""
    tensors = [x for spec in SPECS for codes in store.views(spec.layer) for x in (codes.numbers, codes.scales)]
    return sum(x.untyped_storage().nbytes() for x in tensors)


@pytest.mark.parametrize("kept", CODES)
def test_a_token_takes_a_byte_for_each_number_and_its_scales(kept):
    store = create_store(SPECS, 1000, torch.bfloat16, CPU, kept=CODES[kept])
    scales = 4 * 2 * 2 * 2 if kept == "int8" else 0  # bytes, K and V, heads, layers
    assert store.bytes_per_token == NUMBERS + scales
    assert memory_of(store) == pytest.approx(1000 * store.bytes_per_token, abs=16), "what is counted is what is reserved"
    dense = create_store(SPECS, 10, torch.bfloat16, CPU)
    assert (type(dense), type(store)) == (DenseKV, CodedKV)
    assert dense.bytes_per_token == 2 * NUMBERS


@pytest.mark.parametrize("kept", [None, *CODES.values()], ids=str)
def test_values_that_are_a_part_of_their_keys_take_no_memory(kept):
    spec = AttentionSpec(layer=0, num_heads=4, num_kv_heads=1, head_size=40, v_head_size=32, v_in_k=True, scale=1.0)
    store = create_store([spec], 1000, torch.bfloat16, CPU, kept=kept)
    assert store.bytes_per_token == {None: 2 * 40, torch.int8: 40 + 4}.get(kept, 40)
    k, v = store.views(0)
    rows = torch.randn(3, 1, 40).bfloat16()
    store.write(0, torch.tensor([7, 1, 9]), rows, rows[..., :32])
    keys, values = store.read(0, torch.tensor([7, 1, 9]))
    assert torch.equal(values, keys[..., :32])
    torch.testing.assert_close(keys, rows, rtol=0.3, atol=0.1)
    parts = [(x.numbers if kept else x).untyped_storage() for x in (k, v)]
    assert parts[0].data_ptr() == parts[1].data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kept", CODES)
def test_what_is_read_is_near_what_was_written_and_of_the_type_of_the_model(kept, dtype):
    torch.manual_seed(0)
    store = create_store(SPECS, 40, dtype, CPU, kept=CODES[kept])
    slots = torch.randperm(40)[:9]
    for spec in SPECS:
        rows = [torch.randn(9, 2, size).to(dtype) for size in (spec.head_size, spec.v_head_size)]
        store.write(spec.layer, slots, *rows)
        for got, want in zip(store.read(spec.layer, slots), rows, strict=True):
            assert got.dtype == dtype
            size = want.abs().amax(-1, keepdim=True) if kept == "int8" else want.abs().clamp_min(2**-6)
            assert ((got - want).abs() <= size * (NEAR[kept] + torch.finfo(dtype).eps)).all()
            assert (got != want).any()


def test_each_layer_has_its_own_factor():
    store = create_store(SPECS, 4, torch.float32, CPU, kept=torch.float8_e4m3fn, factors=(1.0, 0.5))
    for layer, spec in enumerate(SPECS):
        rows = [torch.full((1, 2, size), 1000.0) for size in (spec.head_size, spec.v_head_size)]
        store.write(layer, torch.tensor([2]), *rows)
        for got in store.read(layer, torch.tensor([2])):
            assert (got == (448, 224)[layer]).all(), "the largest number, times the factor"
