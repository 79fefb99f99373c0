"""A decode step through all blocks at once has the bits of one block after the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.attention.registry import create_backend, create_store
from workbench.checkpoint.weights import WeightForm
from workbench.engine.plan import PlannedSeq, StepPlan
from workbench.engine.runner import TorchRunner, step_tensors
from workbench.kernels.build import find_compiler
from workbench.kernels.compiled import kernels
from workbench.kernels.products import FORMATS
from workbench.model.decode import AtOnce
from workbench.model.layers import LayerNorm
from workbench.model.load import load_model
from workbench.types import Segment

pytestmark = [pytest.mark.process, pytest.mark.skipif(find_compiler() is None, reason="no compiler, so no kernels")]
CPU = torch.device("cpu")
LENGTHS = (3, 70, 5)
"""Tokens of each sequence before the decode steps."""


def runner(path, dtype: torch.dtype, kept: torch.dtype | None, keeps=FORMATS) -> TorchRunner:
    kernels.begin()
    kernels.wait()
    model = load_model(Path(path), dtype=dtype, device=CPU, form=WeightForm(keeps))
    kv = create_store(model.attention_specs(), 512, dtype, CPU, kept=kept)
    return TorchRunner(model, kv, create_backend("torch", kv), sampler=None)


def seq(number: int, tokens: list[int], start: int) -> PlannedSeq:
    segments = (Segment(0, tuple(range(number * 128, number * 128 + len(tokens)))),)
    return PlannedSeq(number, f"r{number}", tuple(tokens[start:]), start, segments)


@torch.inference_mode()
def decoded(made: TorchRunner, num_steps: int = 3) -> tuple[torch.Tensor, list[bool]]:
    """Returns the hidden states of some decode steps, and whether each went through all blocks at once."""
    rng = torch.Generator().manual_seed(0)
    texts = [torch.randint(0, made.model.vocab_size, (length + num_steps,), generator=rng).tolist() for length in LENGTHS]
    used: list[bool] = []
    plain = made.model.at_once

    def noting(*args):
        done = plain(*args)
        used.append(done is not None)
        return done

    made.model.__dict__["at_once"] = noting
    plans = [StepPlan(1, tuple(seq(i, text[:length], 0) for i, (text, length) in enumerate(zip(texts, LENGTHS, strict=True))), 1)]
    for step in range(num_steps):
        seqs = (seq(i, text[: n + step + 1], n + step) for i, (text, n) in enumerate(zip(texts, LENGTHS, strict=True)))
        plans.append(StepPlan(2 + step, tuple(seqs), 1))
    return torch.cat([made.forward(step_tensors(plan, CPU, made.kv)).clone() for plan in plans]), used


KEPT = [None, torch.int8, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kept", KEPT, ids=["dense", "int8", "fp8"])
def test_at_once_has_the_bits_of_one_by_one(dtype, kept, smollm2, monkeypatch):
    together, used = decoded(runner(smollm2, dtype, kept))
    assert used == [False, True, True, True], "the first step is a prefill"
    monkeypatch.setattr(AtOnce, "__call__", lambda *args: None)
    apart, used = decoded(runner(smollm2, dtype, kept))
    assert not any(used)
    assert torch.equal(together, apart)


def test_dense_weights_go_one_by_one(smollm2):
    assert not any(decoded(runner(smollm2, torch.float32, None, keeps=()))[1])


def test_without_kernels_the_blocks_go_one_by_one(smollm2, monkeypatch):
    made = runner(smollm2, torch.float32, None)
    monkeypatch.setattr(kernels, "used", None)
    assert not any(decoded(made, 1)[1])


def scaled(model: Any) -> None:
    model.layers[1].added_scale = 0.5


def without_positions(model: Any) -> None:
    model.ropes[1] = None


def turned_in_part(model: Any) -> None:
    rope = replace(model.ropes[0], partial_rotary_factor=0.5)
    model.ropes = [rope] * len(model.ropes)
    model.build_tables(torch.float32, CPU)


def turned_twice(model: Any) -> None:
    model.ropes[1] = replace(model.ropes[0], rope_theta=500.0)
    model.build_tables(torch.float32, CPU)


def windowed(model: Any) -> None:
    model.layers[1].self_attn.spec = replace(model.layers[1].self_attn.spec, window=16)


def of_another_scale(model: Any) -> None:
    model.layers[1].self_attn.spec = replace(model.layers[1].self_attn.spec, scale=0.5)


def layer_normed(model: Any) -> None:
    norm = LayerNorm(model.hidden_size, 1e-5, bias=False)
    norm.weight = torch.ones(model.hidden_size)
    model.layers[1].post_attention_layernorm = norm


FORMS = [scaled, without_positions, turned_in_part, turned_twice, windowed, of_another_scale, layer_normed]


@pytest.mark.parametrize("change", FORMS)
def test_blocks_of_another_form_go_one_by_one(change, smollm2):
    made = runner(smollm2, torch.float32, None)
    change(made.model)
    assert not any(decoded(made, 1)[1])
