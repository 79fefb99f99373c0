"""Quantised folders give the model of their dequantised numbers, whatever tool wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from quantised_folders import CONFIG, DENSE_HERE, FORMATS, Maker, write_both
from safetensors.torch import load_file, save_file

from workbench.checkpoint.weights import DENSE, WeightForm
from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.kernels import products
from workbench.model.load import load_model
from workbench.model.tiny import write_config

CPU = torch.device("cpu")
KEPT = WeightForm(products.FORMATS)
every_format = pytest.mark.parametrize("name", FORMATS)


def loaded(folder, form=DENSE):
    return load_model(folder, dtype=torch.float32, device=CPU, form=form)


def linears(model):
    """Returns a product with each matrix of a model."""
    torch.manual_seed(0)
    wide, narrow = torch.randn(5, CONFIG["intermediate_size"]), torch.randn(5, CONFIG["hidden_size"])
    for layer in model.layers:
        for part, x in (("qkv", narrow), ("o_proj", narrow)):
            yield getattr(layer.self_attn, part)(x)
        yield layer.mlp.gate_up(narrow)
        yield layer.mlp.down_proj(wide)


@every_format
def test_dequantised_it_is_the_dense_model(name, tmp_path):
    quantised, dense = write_both(tmp_path, name)
    one, other = (loaded(folder, DENSE) for folder in (quantised, dense))
    assert one.quantization == "dequant"
    assert other.quantization is None
    for got, want in zip(linears(one), linears(other), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()))


@every_format
def test_its_blocks_hold_the_same_numbers(name, tmp_path, monkeypatch):
    """Without kernels the dense form of the blocks is multiplied, so nothing but the numbers of the blocks counts."""
    quantised, dense = write_both(tmp_path, name)
    monkeypatch.setattr(products, "library", lambda: None)
    one, other = (
        loaded(quantised, KEPT),
        loaded(dense),
    )
    assert one.has_blocks() == (name not in DENSE_HERE)
    for got, want in zip(linears(one), linears(other), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()))


def test_matrices_without_blocks_are_named_in_one_line(tmp_path, caplog):
    load_model(write_both(tmp_path, "pack-8-asymmetric")[0], dtype=torch.float32, device=CPU, form=KEPT)
    assert [record.getMessage() for record in caplog.records] == [
        "14 of 14 quantised matrices are computed dense, in float32: no blocks of the kernels hold their numbers"
    ]


def test_blocks_take_the_memory_of_the_file(tmp_path):
    quantised, dense = write_both(tmp_path, "awq")
    one, other = (
        loaded(quantised, KEPT),
        loaded(dense),
    )
    assert one.quantization == "awq"
    linear_bytes = sum(layer.mlp.gate_up.num_bytes for layer in one.layers)
    assert linear_bytes * 32 == sum(layer.mlp.gate_up.num_bytes for layer in other.layers) * 4.25


@pytest.mark.parametrize("dense_part", ["q_proj", "gate_proj", "lm_head"])
def test_a_layer_that_the_tool_left_alone_is_dense_also_as_a_part_of_a_fused_one(dense_part, tmp_path):
    quantised, dense = write_both(tmp_path, "gptq-4", lambda stem: "_proj" in stem and dense_part not in stem)
    one, other = (loaded(folder, KEPT) for folder in (quantised, dense))
    for got, want in zip(linears(one), linears(other), strict=True):
        torch.testing.assert_close(got, want, rtol=0.02, atol=0.02 * float(want.abs().max()))


@pytest.mark.parametrize("name", ["gptq-4", "fp8-tensor", "w8a8-int8"])
def test_a_quantised_head_loads(name, tmp_path):
    quantised, dense = write_both(tmp_path, name, lambda stem: "_proj" in stem or stem == "lm_head")
    x = torch.randn(3, CONFIG["hidden_size"])
    for form in (DENSE, KEPT):
        one, other = (
            loaded(quantised, form),
            loaded(dense),
        )
        torch.testing.assert_close(one.lm_head(x), other.lm_head(x), rtol=0.02, atol=0.02 * float(other.lm_head(x).abs().max()))


def test_columns_in_another_order_for_each_part_become_dense(tmp_path):
    """Tools give the parts of a fused layer one order, since they have one input; a file may still differ."""
    quantised, dense = write_both(tmp_path, "gptq-4-desc-act")
    model = loaded(quantised, KEPT)
    want = loaded(dense).layers[0].self_attn.qkv
    x = torch.randn(2, CONFIG["hidden_size"])
    torch.testing.assert_close(model.layers[0].self_attn.qkv(x), want(x), rtol=1e-4, atol=1e-4)
    assert type(model.layers[0].self_attn.o_proj.weight).__name__ == "BlockWeight"


def changed(tmp_path: Path, name: str, change) -> Path:
    """Writes a quantised folder with other tensors: `change` gets them by name."""
    folder = write_both(tmp_path, name)[0]
    tensors = load_file(folder / "model.safetensors")
    change(tensors, "model.layers.0.self_attn.o_proj")
    save_file(tensors, folder / "model.safetensors")
    return folder


def put(leaf, value, at=(0,)):
    def change(tensors, stem):
        tensors[f"{stem}.{leaf}"][at] = value

    return change


def without(leaf):
    return lambda tensors, stem: tensors.pop(f"{stem}.{leaf}")


def cut(leaf):
    def change(tensors, stem):
        tensors[f"{stem}.{leaf}"] = tensors[f"{stem}.{leaf}"][:-1].contiguous()

    return change


NAN = float("nan")
BAD = {
    "scale NaN": ("gptq-4", put("scales", NAN), r"o_proj.scales holds 256 of 512 scales that are no finite numbers"),
    "scale infinite": ("fp8-channel", put("weight_scale", float("inf")), r"o_proj.weight_scale holds 1 of 256 scales"),
    "group too high": ("gptq-4", put("g_idx", 7), r"o_proj.g_idx names the group 7, and there are 2 \(0 to 1\)"),
    "group negative": ("gptq-4", put("g_idx", -3), r"names the group -3"),
    "groups of other sizes": ("gptq-4", put("g_idx", 1), r"puts other than 128 columns in a group"),
    "no scales": ("awq", without("scales"), r"has parts of a quantised model.layers.0.self_attn.o_proj, and no .*o_proj.scales"),
    "no zeros": ("gptq-4", without("qzeros"), r"and no .*o_proj.qzeros"),
    "no scale of int8": ("w8a8-int8", without("weight_scale"), r"o_proj.weight is stored as I8, and no scale of it is there"),
    "few words": ("pack-4", cut("weight_packed"), r"o_proj.weight_packed is \[255, 32\], the other parts want \[256, 32\]"),
    "few zeros": ("awq", cut("qzeros"), r"o_proj.qzeros is \[1, 32\], the other parts want \[2, 32\]"),
    "scale of another shape": ("fp8-channel", cut("weight_scale"), r"o_proj.weight_scale is \[255, 1\], and one, or 256 of rows"),
    "blocks of another size": (
        "fp8-block",
        cut("weight_scale_inv"),
        r"\[1, 2\], and one, 256 of rows, or of blocks",
    ),
    "damaged state": ("nf4", put("weight.quant_state.bitsandbytes__nf4", 0), r"bitsandbytes__nf4 is damaged"),
    "few table scales": ("nf4", cut("weight.absmax"), r"has 1023 scales for 1024 blocks"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_damaged_folder_is_refused_before_its_codes_are_read(case, tmp_path):
    name, change, says = BAD[case]
    with pytest.raises(ModelCorrupt, match=says):
        loaded(changed(tmp_path, name, change))


def test_a_float8_number_that_is_none_is_refused(tmp_path):
    folder = changed(tmp_path, "fp8-tensor", put("weight", NAN, (0, 0)))
    with pytest.raises(ModelCorrupt, match=r"o_proj.weight holds numbers that are NaN"):
        loaded(folder)


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"quant_method": "aqlm"}, r"quantised by aqlm \(config.json\), which does not run here"),
        ({"quant_method": "gptq", "bits": 5}, r"with bits = 5, which does not run here"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "checkpoint_format = 'marlin'"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "version = 'gemv'"),
        ({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}, "format = 'nvfp4-pack-quantized'"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "quant_algo = 'NVFP4'"),
        ({"quant_method": "fp8", "fmt": "e5m2"}, "fmt = 'e5m2'"),
    ],
)
def test_a_method_or_setting_that_is_not_read_is_named(settings, says, tmp_path):
    write_config(tmp_path, CONFIG, quantization_config=settings)
    with pytest.raises(ModelUnsupported, match=says):
        loaded(tmp_path)


@pytest.mark.parametrize("value", ["awq", "fp8"])
def test_a_method_without_settings_is_refused(value, tmp_path):
    write_config(tmp_path, CONFIG, quantization_config=value)
    with pytest.raises(ModelCorrupt, match=rf"quantization_config = '{value}', it must be an object.*\n") as refused:
        loaded(tmp_path)
    assert str(refused.value).count("\n") == 1


def test_the_maker_packs_as_the_formats_are_described():
    """One word by hand: low bits first, and AWQ's columns 0 2 4 6 1 3 5 7."""
    maker = Maker()
    maker.codes = lambda bits, num_out, width: torch.arange(num_out * width).remainder(16).view(num_out, width).numpy()
    parts, dense = maker.awq(8, 8, group=8)
    assert parts["qweight"].shape == (8, 1)
    assert [int(parts["qweight"][0, 0]) >> (4 * i) & 15 for i in range(8)] == [0, 0, 0, 0, 8, 8, 8, 8]
    assert dense.shape == (8, 8)
