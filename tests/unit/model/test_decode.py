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
from workbench.model.tiny import TINY_GEMMA3, TINY_LLAMA, write_config
from workbench.types import Segment

pytestmark = [pytest.mark.process, pytest.mark.skipif(find_compiler() is None, reason="no compiler, so no kernels")]
CPU = torch.device("cpu")
LENGTHS = (3, 70, 5)
"""Tokens of each sequence before the decode steps."""


SMALL = TINY_LLAMA | {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 64,
}  # fmt: skip
FAMILIES = {
    "qwen2": SMALL | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"},  # biases
    "qwen3": SMALL | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"},  # normed heads
    "gemma2": SMALL | {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "sliding_window": 40, "hidden_act": None},
    "gemma3": TINY_GEMMA3 | {"hidden_size": 64, "intermediate_size": 96, "head_dim": 64, "sliding_window": 40},
}
"""Made models whose blocks have what those of a Llama lack: these, norms behind, windows, a cap, and two rotary embeddings."""


def runner(path, dtype: torch.dtype, kept: torch.dtype | None, keeps=FORMATS, online: str | None = None) -> TorchRunner:
    """Returns a runner; with `online`, of random weights in this scheme."""
    kernels.begin()
    kernels.wait()
    model = load_model(Path(path), dtype=dtype, device=CPU, form=WeightForm(keeps, online), dummy=online is not None)
    kv = create_store(model.attention_specs(), 1024, dtype, CPU, kept=kept)
    return TorchRunner(model, kv, create_backend("torch", kv), sampler=None)


TREE = {0: (1, 2), 1: (), 2: (1, 2), 3: (1,)}
"""Nodes above each sequence where they share, of 70 and 65 pages: the first run is that of rows that are no neighbours."""
NODES = {1: Segment(1, tuple(range(600, 670))), 2: Segment(2, tuple(range(700, 765)))}


def seq(number: int, tokens: list[int], start: int, nodes: tuple[int, ...] = ()) -> PlannedSeq:
    above = [NODES[node] for node in nodes]
    num_own = len(tokens) - sum(len(node.pages) for node in above)
    segments = (*above, Segment(0, tuple(range(number * 128, number * 128 + num_own))))
    return PlannedSeq(number, f"r{number}", tuple(tokens[start:]), start, segments)


@torch.inference_mode()
def decoded(made: TorchRunner, num_steps: int = 3, is_shared: bool = False) -> tuple[torch.Tensor, list[bool]]:
    """Returns the hidden states of some decode steps, and whether each went through all blocks at once.

    With `is_shared` four sequences stand below the nodes of `TREE`.
    """
    rng = torch.Generator().manual_seed(0)
    nodes = TREE if is_shared else dict.fromkeys(range(len(LENGTHS)), ())
    above = [sum(len(NODES[node].pages) for node in some) for some in nodes.values()]
    lengths = [num_above + own for num_above, own in zip(above, (*LENGTHS, 9), strict=False)]
    texts = [torch.randint(0, made.model.vocab_size, (length + num_steps,), generator=rng).tolist() for length in lengths]
    used: list[bool] = []
    plain = made.model.at_once

    def noting(*args):
        done = plain(*args)
        used.append(done is not None)
        return done

    made.model.__dict__["at_once"] = noting
    plans = [StepPlan(1, tuple(seq(i, text[:n], 0, nodes[i]) for i, (text, n) in enumerate(zip(texts, lengths, strict=True))), 1)]
    for step in range(num_steps):
        seqs = (seq(i, text[: n + step + 1], n + step, nodes[i]) for i, (text, n) in enumerate(zip(texts, lengths, strict=True)))
        plans.append(StepPlan(2 + step, tuple(seqs), 1))
    return torch.cat([made.forward(step_tensors(plan, CPU, made.kv)).clone() for plan in plans]), used


KEPT = [None, torch.int8, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kept", KEPT, ids=["dense", "int8", "fp8"])
@pytest.mark.parametrize("is_shared", [False, True], ids=["alone", "shared"])
def test_at_once_has_the_bits_of_one_by_one(dtype, kept, is_shared, smollm2, monkeypatch):
    together, used = decoded(runner(smollm2, dtype, kept), is_shared=is_shared)
    assert used == [False, True, True, True], "the first step is a prefill"
    monkeypatch.setattr(AtOnce, "__call__", lambda *args: None)
    apart, used = decoded(runner(smollm2, dtype, kept), is_shared=is_shared)
    assert not any(used)
    assert torch.equal(together, apart)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("is_shared", [False, True], ids=["alone", "shared"])
def test_blocks_of_other_forms_have_them_too(family, is_shared, tmp_path, monkeypatch):
    folder = write_config(tmp_path, FAMILIES[family])
    for dtype in (torch.float32, torch.bfloat16):
        together, used = decoded(runner(folder, dtype, None, online="int8wo"), is_shared=is_shared)
        assert used == [False, True, True, True]
        with monkeypatch.context() as patch:
            patch.setattr(AtOnce, "__call__", lambda *args: None)
            apart, used = decoded(runner(folder, dtype, None, online="int8wo"), is_shared=is_shared)
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


def of_another_scale(model: Any) -> None:
    model.layers[1].self_attn.spec = replace(model.layers[1].self_attn.spec, scale=0.5)


def layer_normed(model: Any) -> None:
    norm = LayerNorm(model.hidden_size, 1e-5, bias=False)
    norm.weight = torch.ones(model.hidden_size)
    model.layers[1].post_attention_layernorm = norm


FORMS = [scaled, without_positions, turned_in_part, of_another_scale, layer_normed]


@pytest.mark.parametrize("change", FORMS)
def test_blocks_of_another_form_go_one_by_one(change, smollm2):
    made = runner(smollm2, torch.float32, None)
    change(made.model)
    assert not any(decoded(made, 1)[1])
