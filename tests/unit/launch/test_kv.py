"""The K/V store holds whole pages, as many as requested or as the memory allows."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import torch

from workbench.attention.spec import AttentionSpec
from workbench.config import ServerArgs
from workbench.errors import InvalidRequest, NotSupported
from workbench.launch.kv import CPU_POOL_SHARE, make_kv
from workbench.launch.place import Hardware, name_of

SPECS = [AttentionSpec(layer=layer, num_heads=2, num_kv_heads=1, head_size=8, v_head_size=8, scale=1.0) for layer in range(3)]
PLACE = Hardware(torch.device("cpu"), torch.float32)
BYTES_PER_TOKEN = 3 * 2 * 8 * 4
"""Size of one token: layers, keys and values, head size, float32."""


@pytest.mark.parametrize("tokens, page_size, slots", [(403, 1, 403), (403, 4, 400), (16, 16, 16)])
def test_a_store_of_a_given_size_has_whole_pages(tokens: int, page_size: int, slots: int) -> None:
    kv = make_kv(ServerArgs.make(max_total_tokens=tokens, page_size=page_size), SPECS, PLACE)
    assert (kv.num_slots, kv.bytes_per_token) == (slots, BYTES_PER_TOKEN)


@pytest.mark.parametrize("share", [None, 0.5])
def test_without_a_size_it_takes_a_share_of_the_memory(monkeypatch: pytest.MonkeyPatch, share: float | None) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000 * BYTES_PER_TOKEN))
    kv = make_kv(ServerArgs.make(mem_fraction_static=share), SPECS, PLACE)
    assert kv.num_slots == 1000 * (share or CPU_POOL_SHARE)


def test_a_store_that_holds_no_page_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"max_total_tokens is 0.*at least one page of 16"):
        make_kv(ServerArgs.make(max_total_tokens=15, page_size=16), SPECS, PLACE)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_store_in_another_dense_type_than_the_model_is_refused(name: str) -> None:
    with pytest.raises(NotSupported, match=f"kv_cache_dtype {name} beside dtype float32 is not available") as refused:
        make_kv(ServerArgs.make(max_total_tokens=64, kv_cache_dtype=name), SPECS, PLACE)
    assert refused.value.hint == "leave it at auto, or take one of 8 bits: fp8_e5m2, fp8_e4m3, int8"


@pytest.mark.parametrize("name, smaller", [("float32", 1), ("fp8_e5m2", 4), ("fp8_e4m3", 4), ("int8", 8 * 4 / (8 + 4))])
def test_numbers_of_8_bits_make_room_for_more_tokens(monkeypatch: pytest.MonkeyPatch, name: str, smaller: float) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * 300 * BYTES_PER_TOKEN))
    kv = make_kv(ServerArgs.make(kv_cache_dtype=name), SPECS, PLACE)
    assert (kv.bytes_per_token, kv.num_slots) == (BYTES_PER_TOKEN / smaller, int(300 * smaller))
    assert name_of(kv.dtype) == name
