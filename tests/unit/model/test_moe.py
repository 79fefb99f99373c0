"""A mixture of experts: rows on their own and in a batch, and experts as quantised blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import stored

from workbench.checkpoint.weights import DENSE, WeightForm
from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.kernels.products import FORMATS
from workbench.model.base import Model
from workbench.model.linear import BlockWeight
from workbench.model.load import load_model
from workbench.model.moe import MoE

CONFIG: dict[str, Any] = {
    "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "vocab_size": 64, "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 6,
    "num_experts_per_tok": 2, "max_position_embeddings": 64,
}  # fmt: skip
KEPT = WeightForm(FORMATS, "int8wo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("mixtral"), CONFIG)


def opened(folder: Path, form: WeightForm = DENSE) -> Model:
    return load_model(folder, dtype=torch.float32, device=torch.device("cpu"), form=form)


def moe_of(model: Model) -> MoE:
    return next(module for module in model.modules() if isinstance(module, MoE))


def rows(num: int) -> torch.Tensor:
    return torch.randn(num, CONFIG["hidden_size"], generator=torch.Generator().manual_seed(num))


@torch.inference_mode()
def test_the_sum_is_that_of_a_loop_over_rows(folder: Path):
    moe, x = moe_of(opened(folder)), rows(40)
    choice = moe.gate(x)
    assert len(choice.experts.unique()) == 6
    for i, row in enumerate(moe(x)):
        parts = [
            weight * moe.experts.each[expert](x[i : i + 1])[0]
            for expert, weight in zip(*(part[i] for part in choice), strict=True)
        ]
        torch.testing.assert_close(row, torch.stack(parts).sum(0))


@torch.inference_mode()
@pytest.mark.parametrize("form", [DENSE, KEPT], ids=["dense", "blocks"])
def test_a_row_has_one_result_alone_and_in_a_batch(folder: Path, form: WeightForm):
    """Blocks give the same bits; the order of a dense product's sums depends on the number of rows."""
    moe, x = moe_of(opened(folder, form)), rows(40)
    whole = moe(x)
    for i in range(len(x)):
        alone = moe(x[i : i + 1])[0]
        if form is KEPT:
            assert torch.equal(alone, whole[i])
        else:
            torch.testing.assert_close(alone, whole[i], rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_a_scheme_quantises_experts_and_leaves_the_router(folder: Path):
    dense, kept = opened(folder), opened(folder, KEPT)
    assert kept.quantization == "int8wo"
    experts = moe_of(kept).experts.each
    assert all(isinstance(part.weight, BlockWeight) for expert in experts for part in (expert.gate_up, expert.down_proj))
    assert kept.weights_bytes() < 0.6 * dense.weights_bytes()
    x = rows(9)
    want, got = moe_of(dense).gate(x), moe_of(kept).gate(x)
    assert torch.equal(want.experts, got.experts)
    torch.testing.assert_close(want.weights, got.weights)
    assert 0 < (moe_of(kept)(x) - moe_of(dense)(x)).norm() < 0.05 * moe_of(dense)(x).norm()


def test_a_decode_step_reads_the_chosen_experts(folder: Path):
    model = opened(folder)
    one_expert = 3 * 64 * 96 * 4
    table = 64 * 64 * 4  # of which one row is read
    assert model.weights_bytes() - model.decode_bytes() == 4 * one_expert + table - 64 * 4


def test_more_experts_than_there_are_are_refused(folder: Path):
    with pytest.raises(ModelCorrupt, match="7 experts for each token, and 6 to choose from"):
        load_model(folder, dtype=torch.float32, device=torch.device("cpu"), override={"num_experts_per_tok": 7})
    with pytest.raises(ModelUnsupported, match=r"6 tensors|9 tensors|tensors"):
        load_model(folder, dtype=torch.float32, device=torch.device("cpu"), override={"num_local_experts": 4})


def test_a_seeded_model_has_experts_too(folder: Path):
    model = load_model(folder, dtype=torch.float32, device=torch.device("cpu"), dummy=True)
    assert moe_of(model)(rows(3)).isfinite().all()
