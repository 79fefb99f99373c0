"""Blocks become the numbers that the `gguf` library makes of them, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from workbench.bench.random_blocks import random_blocks as random_scaled
from workbench.checkpoint import dequantise as module
from workbench.checkpoint.block_types import GGUF_TYPES, OWN_TYPES, SCALES
from workbench.checkpoint.dequantise import BY_NAME, FILLS, can_dequantise, dequantise

LEFT_TO_THE_LIBRARY = ["Q2_K", "Q3_K", "IQ4_NL", "IQ4_XS", "TQ1_0"]
OURS = {kind.name for kind in OWN_TYPES.values()}


PLAIN = ("F32", "F16", "BF16")


def random_blocks(name: str, num_rows: int, blocks_a_row: int) -> np.ndarray:
    """Returns random blocks: any bytes, but float16 scales that are numbers."""
    kind = GGMLQuantizationType[name]
    raw = np.random.default_rng(0).integers(0, 256, (num_rows, blocks_a_row, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    if name in PLAIN:
        raw[..., 1::2] &= 0xBB
    for place in {"F32": [], "F16": [], "BF16": [], "Q6_K": [208], "Q2_K": [80, 82], "Q3_K": [108], "TQ1_0": [52]}.get(
        name, [0, 2]
    ):
        raw[..., place + 1] &= 0xBB  # the exponent of a float16 is below its highest
    return raw.reshape(num_rows, -1)


@pytest.mark.parametrize("name", [*(name for name in FILLS if name not in OURS), *LEFT_TO_THE_LIBRARY])
def test_every_type_equals_the_library(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CHUNK", 512)  # so that there are several chunks
    raw = random_blocks(name, 5, 3)
    theirs = dequantize(raw, GGMLQuantizationType[name])
    ours = torch.empty(theirs.shape)
    dequantise(name, torch.from_numpy(raw), ours)
    assert np.isfinite(theirs).all()
    assert np.array_equal(ours.numpy().view(np.int32), theirs.view(np.int32))


@pytest.mark.parametrize("name", SCALES)
def test_the_table_of_scales_has_their_places(name: str):
    """A scale that is no number makes numbers of its block alone that are none."""
    blocks = random_scaled(name, 1, 2 * BY_NAME[name].block_len)
    assert blocks.dense().isfinite().all()
    for place in range(SCALES[name].start, SCALES[name].stop, 2):
        data = blocks.data.clone()
        data.view(2, -1)[1, place : place + 2] = torch.tensor([0x00, 0x7E])  # NaN
        first, second = replace(blocks, data=data).dense().view(2, -1)
        assert first.isfinite().all()
        assert second.isnan().all()


def test_the_table_of_types_is_that_of_the_library():
    theirs = {int(kind): (kind.name, *GGML_QUANT_SIZES[kind]) for kind in GGML_QUANT_SIZES}
    assert {number: tuple(kind) for number, kind in GGUF_TYPES.items() if number in theirs} == theirs


def test_a_type_without_a_way_to_floats_is_known_before_it_is_read():
    assert can_dequantise("Q4_K")
    assert can_dequantise("IQ4_NL")
    assert not can_dequantise("I32")
