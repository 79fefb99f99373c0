"""Schemes round each number to the nearest that their codes have, and change nothing else."""

from __future__ import annotations

import pytest
import torch
from quantised_folders import CONFIG
from tiny_weights import write_checkpoint

from workbench.checkpoint.online import SCHEMES
from workbench.checkpoint.weights import WeightForm
from workbench.config.schemes import SCHEMES as NAMES
from workbench.kernels.products import FORMATS
from workbench.model.load import load_model

CPU = torch.device("cpu")
INT8, INT4, FLOAT8 = (
    ("int8wo", "int8dq", "w8a8_int8"),
    ("int4wo-32", "int4wo-64", "int4wo-128"),
    ("fp8", "fp8wo", "fp8dq-per_tensor"),
)
every_scheme = pytest.mark.parametrize("name", sorted(SCHEMES))


def weight(num_out: int = 7, width: int = 512) -> torch.Tensor:
    torch.manual_seed(0)
    made = torch.randn(num_out, width) * torch.tensor([1e-3, 1, 30, 1, 1, 1, 1])[:num_out, None]
    made[3, :32] = 0
    made[4] = made[4].abs()  # no number below 0
    return made


def test_all_names_of_the_settings_are_schemes():
    assert set(SCHEMES) == NAMES


@pytest.mark.parametrize("name", INT8)
def test_int8_is_within_half_a_step_of_each_row(name):
    x = weight()
    step = x.abs().amax(1, keepdim=True) / 127
    assert ((SCHEMES[name](x).dense() - x).abs() <= step * 0.501).all()


@pytest.mark.parametrize("name", INT4)
def test_int4_is_within_a_step_of_each_group(name):
    """Half a step of the codes, and half a step of the zero point, which is a whole number too."""
    x, group = weight(), int(name.rpartition("-")[2])
    groups = x.view(len(x), -1, group)
    step = (groups.amax(-1).clamp(min=0) - groups.amin(-1).clamp(max=0)) / 15
    error = (SCHEMES[name](x).dense() - x).abs().view_as(groups)
    assert (error <= step[..., None] * 1.01).all()
    assert (error.mean(-1) <= step * 0.5).all()


@pytest.mark.parametrize("name", [*FLOAT8, "fp8dq-per_row"])
def test_float8_has_four_significant_bits(name):
    x = weight()
    peak = x.abs().amax(1, keepdim=True) if name.endswith("row") else x.abs().amax()
    error = (SCHEMES[name](x).dense() - x).abs()
    smallest = peak / 448 * 2**-9  # the step of the smallest codes
    assert (error <= (x.abs() / 16).maximum(smallest / 2) * 1.001).all()


@every_scheme
def test_zeros_stay_zeros(name):
    assert not SCHEMES[name](torch.zeros(3, 256)).dense().any()


@every_scheme
def test_blocks_hold_the_same_numbers_as_the_codes(name):
    made = SCHEMES[name](weight())
    blocks = made.blocks()
    assert blocks.type in FORMATS
    torch.testing.assert_close(blocks.dense(), made.dense(), rtol=1e-6, atol=1e-6)


def test_groups_that_do_not_divide_a_row_leave_it_dense():
    assert SCHEMES["int4wo-128"](torch.randn(4, 192)) is None
    assert SCHEMES["int8wo"](torch.randn(4, 40)).blocks() is None


@pytest.mark.parametrize(
    "name, says", [("int4wo-256", ["2 of 8 layers stay as they are: the groups of int4wo-256 do not"]), ("int8wo", [])]
)
def test_layers_that_a_scheme_leaves_dense_are_counted_in_one_line(name, says, tmp_path, caplog):
    """The inner width of the network is no whole number of such groups."""
    load_model(write_checkpoint(tmp_path, CONFIG), dtype=torch.float32, device=CPU, form=WeightForm(FORMATS, name))
    assert [record.getMessage()[: len(text)] for record, text in zip(caplog.records, says, strict=True)] == says


@every_scheme
def test_a_dense_folder_is_quantised_but_for_embedding_norms_and_head(name, tmp_path):
    folder = write_checkpoint(tmp_path, CONFIG)
    dense = load_model(folder, dtype=torch.float32, device=CPU)
    kept, rounded = (load_model(folder, dtype=torch.float32, device=CPU, form=WeightForm(types, name)) for types in (FORMATS, ()))
    assert (kept.quantization, rounded.quantization, dense.quantization) == (name, "dequant", None)
    x = torch.randn(4, CONFIG["hidden_size"])
    assert torch.equal(kept.lm_head(x), dense.lm_head(x))
    ids = torch.tensor([3, 7])
    assert torch.equal(kept.embed_tokens(ids), dense.embed_tokens(ids))
    for one, two, three in zip(kept.layers, rounded.layers, dense.layers, strict=True):
        want = three.mlp.gate_up(x)
        assert not torch.equal(two.mlp.gate_up(x), want)
        limit = 0.25 if name.startswith("int4") else 0.06
        assert (two.mlp.gate_up(x) - want).norm() < limit * want.norm()
        assert (one.mlp.gate_up(x) - two.mlp.gate_up(x)).norm() < 0.02 * want.norm()
    assert kept.weights_bytes() < dense.weights_bytes()
