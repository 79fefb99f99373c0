"""The fast backend equals the written-out oracle on random steps, in both of its arithmetics."""

from __future__ import annotations

import random

import pytest
import torch

from workbench.attention.registry import create_store
from workbench.attention.runs import find_runs
from workbench.attention.spec import AttentionSpec
from workbench.attention.step import Span, StepTensors, last_slots
from workbench.attention.torch_fast import FastAttention
from workbench.attention.torch_ref import ReferenceAttention
from workbench.kernels import ops
from workbench.kernels.codes import CODES
from workbench.kernels.compiled import library, status
from workbench.types import Segment

HQ, HKV, SLOTS = 6, 2, 4096
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}


class Tree:
    """Grows random sequences over shared nodes, in the way that the prefix cache gives out segments."""

    def __init__(self, rng: random.Random, page_size: int) -> None:
        self.rng, self.page_size = rng, page_size
        self.free = list(range(SLOTS // page_size))
        self.scattered = list(self.free)
        rng.shuffle(self.scattered)
        self.next_node = 1

    def take(self, count: int, scattered: bool) -> tuple[int, ...]:
        source = self.scattered if scattered else self.free
        free = set(self.free)
        pages = [page for page in source if page in free][:count]
        taken = set(pages)
        self.free = [page for page in self.free if page not in taken]
        return tuple(pages)

    def node(self, num_tokens: int) -> Segment:
        self.next_node += 1
        return Segment(self.next_node, self.take(num_tokens // self.page_size, self.rng.random() < 0.3))


def spec_of(layer: int, size: int, **changes) -> AttentionSpec:
    settings = {"num_heads": HQ, "num_kv_heads": HKV, "head_size": size, "v_head_size": size, "scale": size**-0.5}
    return AttentionSpec(layer=layer, **settings | changes)


def spans_of(seqs: list[dict], sizes: list[int], page_size: int) -> tuple[Span, ...]:
    spans, start = [], 0
    for i, (seq, size) in enumerate(zip(seqs, sizes, strict=True)):
        if size:
            total = seq["done"] + size
            private = total - seq["shared"]
            pages = seq["pages"][: -(-private // page_size)]
            segments = (*seq["path"], Segment(0, tuple(pages))) if pages else tuple(seq["path"])
            spans.append(Span(i, start, size, total, segments))
            start += size
    return tuple(spans)


@pytest.fixture(params=["compiled", "torch"])
def kernels(request, monkeypatch):
    """Backend once with the compiled operations (head size 64), once with their replacement in torch."""
    if request.param == "torch":
        monkeypatch.setattr(ops, "compiled", lambda *_: None)
    elif library() is None:
        pytest.skip(status())
    return request.param


@pytest.mark.heavy
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("page_size", [1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_random_steps_over_a_random_tree(seed, page_size, dtype, kernels):
    compare_random_steps(seed, page_size, dtype, kernels)


@pytest.mark.heavy
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kept", CODES)
def test_random_steps_over_a_tree_of_8_bit_numbers(kept, dtype, kernels):
    compare_random_steps(1, 1, dtype, kernels, CODES[kept])


@pytest.mark.heavy
@pytest.mark.parametrize("kept", [None, *CODES.values()], ids=str)
def test_random_steps_over_values_that_are_a_part_of_their_keys(kept, kernels):
    compare_random_steps(2, 1, torch.float32, kernels, kept, latent=True)


def compare_random_steps(seed, page_size, dtype, kernels, kept=None, latent=False):
    """Compares both backends on eight steps over equal stores; the reference reads 8-bit numbers through `read`."""
    D = 64 if kernels == "compiled" else 8
    num_kv_heads, shape = HKV, {}
    if latent:
        num_kv_heads, shape = 1, {"num_kv_heads": 1, "head_size": D + 8, "v_in_k": True}

    def random_rows(num: int) -> tuple[torch.Tensor, torch.Tensor]:
        k = torch.randn(num, num_kv_heads, shape.get("head_size", D)).to(dtype)
        return k, k[..., :D] if latent else torch.randn(num, num_kv_heads, D).to(dtype)

    rng = random.Random(seed)
    torch.manual_seed(seed)
    specs = [spec_of(layer, D, **shape) for layer in range(2)]
    kv_fast, kv_ref = (create_store(specs, SLOTS, dtype, torch.device("cpu"), kept=kept) for _ in range(2))
    for spec in specs:
        rows = random_rows(SLOTS)
        for store in (kv_fast, kv_ref):
            store.write(spec.layer, torch.arange(SLOTS), *rows)
    fast, reference = FastAttention(kv_fast), ReferenceAttention(kv_ref)
    tree = Tree(rng, page_size)
    trunk = [tree.node(64), tree.node(rng.choice([8, 128]))]
    branches = [[*trunk[: rng.randint(0, 2)], tree.node(rng.choice([4, 80, 600]))] for _ in range(3)]
    seqs = []
    for _ in range(6):
        path = rng.choice([[], trunk, *branches])
        shared = sum(len(segment.pages) for segment in path) * page_size
        seqs.append(
            {"path": path, "shared": shared, "done": shared, "pages": tree.take(-(-340 // page_size), rng.random() < 0.5)}
        )
    for _ in range(8):
        sizes = [
            rng.choice([0, 1, 1, 1, 5, 7, 70, 70, 80, 140]) if seq["done"] - seq["shared"] < 200 else rng.choice([0, 1])
            for seq in seqs
        ]
        spans = spans_of(seqs, sizes, page_size)
        if not spans:
            continue
        slots = torch.tensor([slot for span in spans for slot in last_slots(span, page_size)])
        total = len(slots)
        step = StepTensors(torch.zeros(total, dtype=torch.int64), torch.zeros(total, dtype=torch.int64), slots, spans, page_size)
        steps = fast.prepare(step), reference.prepare(step)
        for layer in range(2):
            q, (k, v) = torch.randn(total, HQ, shape.get("head_size", D)).to(dtype), random_rows(total)
            spec = spec_of(layer, D, **shape, window=rng.choice([None, 9, 100]), softcap=rng.choice([None, None, 2.0]))
            sinks = rng.choice([None, None, torch.randn(HQ) * 3])
            got, want = (step.attend(spec, q, k, v, sinks) for step in steps)
            torch.testing.assert_close(got, want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        for seq, size in zip(seqs, sizes, strict=True):
            seq["done"] += size


def test_a_shared_stretch_becomes_one_run_and_the_rest_is_left_over():
    trunk, more, odd = Segment(1, tuple(range(100))), Segment(2, tuple(range(100, 200))), Segment(3, (900, 300, 301))
    spans = tuple(Span(i, i, 1, 204, (trunk, more, odd, Segment(0, (500 + i,)))) for i in range(3))
    runs, rests = find_runs(spans, 1, only_shared=True)
    assert [(run.start, run.end, run.members) for run in runs] == [(0, 200, (0, 1, 2))]
    assert rests[1].slots(1) == [900, 300, 301, 501]
