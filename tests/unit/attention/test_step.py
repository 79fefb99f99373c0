"""Every backend equals a loop over single rows: softcap, window, values of another size, encoders, and other kinds of stores."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from itertools import accumulate

import pytest
import torch

from workbench.attention.encoder import EncoderAttention
from workbench.attention.kv import DenseKV
from workbench.attention.registry import BACKENDS, create_backend, create_store
from workbench.attention.spec import AttentionSpec
from workbench.attention.step import Span, StepTensors
from workbench.errors import NotSupported
from workbench.types import Segment

HQ, HKV, D, DV, SLOTS = 4, 2, 8, 12, 256
CPU = torch.device("cpu")
SETTINGS = [{}, {"softcap": 1.5}, {"window": 5}, {"window": 5, "softcap": 1.5}]
IDS = ["plain", "softcap", "window", "window and softcap"]


def spec_of(**changes) -> AttentionSpec:
    settings = {"layer": 0, "num_heads": HQ, "num_kv_heads": HKV, "head_size": D, "v_head_size": DV, "scale": 0.4}
    return AttentionSpec(**settings | changes)


def one_row(q, k, v, spec: AttentionSpec, seen: range) -> torch.Tensor:
    """Returns the attention of one query [Hq, D] over the positions `seen` of k [S, Hkv, D], v [S, Hkv, Dv], number by number."""
    out = torch.zeros(spec.num_heads, spec.v_head_size)
    for head in range(spec.num_heads):
        kv_head = head * spec.num_kv_heads // spec.num_heads
        scores = [spec.scale * float(q[head] @ k[position, kv_head]) for position in seen]
        if spec.softcap is not None:
            scores = [spec.softcap * math.tanh(score / spec.softcap) for score in scores]
        weights = [math.exp(score) for score in scores]
        for position, weight in zip(seen, weights, strict=True):
            out[head] += weight / sum(weights) * v[position, kv_head]
    return out


def step_of(sizes: list[tuple[int, int]]) -> tuple[StepTensors, list[list[int]]]:
    """Returns a step with sequences of (cached, new) tokens at scattered slots, and the slots of each."""
    order, spans, contexts, start = torch.randperm(SLOTS).tolist(), [], [], 0
    for i, (cached, new) in enumerate(sizes):
        context = [order.pop() for _ in range(cached + new)]
        spans.append(Span(i, start, new, cached + new, (Segment(0, tuple(context)),)))
        contexts.append(context)
        start += new
    slots = torch.tensor([slot for (_, new), context in zip(sizes, contexts, strict=True) for slot in context[-new:]])
    blank = torch.zeros(start, dtype=torch.int64)
    return StepTensors(blank, blank, slots, tuple(spans), 1), contexts


def random_rows(count: int, spec: AttentionSpec):
    sizes = ((spec.num_heads, spec.head_size), (spec.num_kv_heads, spec.head_size), (spec.num_kv_heads, spec.v_head_size))
    return [torch.randn(count, *size) for size in sizes]


@pytest.mark.parametrize("sizes", [(8, 12), (64, 32), (64, 64)], ids=str)
@pytest.mark.parametrize("settings", SETTINGS, ids=IDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_decoder_equals_a_loop_over_rows(backend, settings, sizes):
    torch.manual_seed(0)
    spec = spec_of(head_size=sizes[0], v_head_size=sizes[1], **settings)
    store = create_store([spec], SLOTS, torch.float32, CPU)
    step, contexts = step_of([(0, 7), (11, 1), (9, 4), (2, 1)])
    k, v = (torch.randn(SLOTS, HKV, size) for size in sizes)
    store.write(0, torch.arange(SLOTS), k, v)
    q, new_k, new_v = random_rows(13, spec)
    got = create_backend(backend, store).prepare(step).attend(spec, q, new_k, new_v)
    k[step.slots], v[step.slots] = new_k, new_v
    for span, context in zip(step.spans, contexts, strict=True):
        for i in range(span.num_new):
            end = span.num_cached + i + 1
            seen = range(max(0, end - (spec.window or end)), end)
            want = one_row(q[span.start + i], k[context], v[context], spec, seen)
            torch.testing.assert_close(got[span.start + i], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS, ids=IDS)
def test_an_encoder_sees_its_own_sequence_in_both_directions(settings):
    torch.manual_seed(1)
    spec, lengths = spec_of(**settings), [13, 1, 600, 4]
    spans = tuple(Span(i, end - n, n, n, ()) for i, (n, end) in enumerate(zip(lengths, accumulate(lengths), strict=True)))
    blank = torch.zeros(sum(lengths), dtype=torch.int64)
    q, k, v = random_rows(sum(lengths), spec)
    got = EncoderAttention().prepare(StepTensors(blank, blank, blank, spans, 1)).attend(spec, q, k, v)
    for span in spans:
        rows = slice(span.start, span.start + span.num_new)
        for i in {0, span.num_new // 3, 511 % span.num_new, span.num_new - 1}:
            reach = (spec.window or span.num_new) - 1
            seen = range(max(0, i - reach), min(span.num_new, i + reach + 1))
            want = one_row(q[span.start + i], k[rows], v[rows], spec, seen)
            torch.testing.assert_close(got[span.start + i], want, rtol=1e-5, atol=1e-5)


class LatentKV(DenseKV):
    """A store as for MLA: one latent per token is stored, and its first numbers are the value."""

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__([replace(spec, v_head_size=0)], SLOTS, torch.float32, CPU)
        self.value_size = spec.v_head_size

    def write(self, layer, slots, k, v):
        self._views[layer][0][slots] = k

    def read(self, layer, slots):
        k, v = self.views(layer)
        return k[slots], v[slots]

    def views(self, layer):
        latent = self._views[layer][0]
        return latent, latent[..., : self.value_size]


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_may_be_a_part_of_the_keys(backend):
    torch.manual_seed(2)
    spec = spec_of(num_kv_heads=1, head_size=64, v_head_size=32)
    step, _ = step_of([(0, 9), (5, 1), (3, 2)])
    latents, store, dense = torch.randn(SLOTS, 1, 64), LatentKV(spec), create_store([spec], SLOTS, torch.float32, CPU)
    assert (store.bytes_per_token, dense.bytes_per_token) == (64 * 4, 96 * 4)
    q, new, _ = random_rows(12, spec)
    answers = []
    for kv in (store, dense):
        kv.write(0, torch.arange(SLOTS), latents, latents[..., :32])
        answers.append(create_backend(backend, kv).prepare(step).attend(spec, q, new, new[..., :32]))
    torch.testing.assert_close(*answers, rtol=1e-5, atol=1e-5)


class Rounded:
    """A store that rounds in `write` and scales in `read`, and has no views."""

    def __init__(self, spec: AttentionSpec) -> None:
        self.num_slots, self.num_touched, self.bytes_per_token = SLOTS, 0, spec.num_kv_heads * (spec.head_size + spec.v_head_size)
        self.dtype, self.device = torch.int8, CPU
        self.kept = [torch.zeros(SLOTS, spec.num_kv_heads, size, dtype=torch.int8) for size in (spec.head_size, spec.v_head_size)]

    def write(self, layer, slots, k, v):
        for kept, rows in zip(self.kept, (k, v), strict=True):
            kept[slots] = (rows * 31).round().clamp(-127, 127).to(torch.int8)

    def read(self, layer, slots):
        return tuple(kept[slots].float() / 31 for kept in self.kept)


def test_a_store_without_views_is_read_by_the_reference_and_refused_by_the_fast_backend():
    torch.manual_seed(3)
    spec = spec_of()
    step, _ = step_of([(0, 9), (0, 1)])
    rows = random_rows(10, spec)
    dense = create_backend("torch", create_store([spec], SLOTS, torch.float32, CPU)).prepare(step).attend(spec, *rows)
    rounded = create_backend("reference", Rounded(spec)).prepare(step).attend(spec, *rows)
    assert 0 < (dense - rounded).abs().max() < 0.05
    with pytest.raises(NotSupported, match="attention backend torch cannot read Rounded"):
        create_backend("torch", Rounded(spec))


@pytest.mark.process
def test_a_backend_is_imported_when_it_is_chosen():
    code = (
        "import sys, workbench.attention.registry as registry\n"
        "from workbench.engine.runner import TorchRunner\n"
        "assert not [name for name in sys.modules if name.startswith('workbench.attention.torch_')]\n"
        "registry.create_backend('reference', None)\n"
        "print(*[name for name in sys.modules if name.startswith('workbench.attention.torch_')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["workbench.attention.torch_ref"]
