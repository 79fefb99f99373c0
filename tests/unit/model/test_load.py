"""Every tensor of a checkpoint is used or named in an error; so is one that is missing, stored twice or no float."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_weights import tensors_of

from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.model.load import load_model
from workbench.model.tiny import TINY_GEMMA3, TINY_LLAMA, write_config

CPU = torch.device("cpu")
Q = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_config(tmp_path / "model")


def load(folder: Path, tensors: dict[str, torch.Tensor], **options: Any):
    save_file(tensors, folder / "model.safetensors")
    return load_model(folder, dtype=torch.float32, device=CPU, **options)


@pytest.mark.parametrize("config", [TINY_LLAMA, TINY_GEMMA3], ids=["llama", "gemma3"])
def test_a_whole_checkpoint_loads_and_so_do_known_leftovers(tmp_path: Path, config: dict[str, Any]):
    tensors = tensors_of(config)
    leftovers = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    model = load(write_config(tmp_path / "model", config), tensors | leftovers)
    assert torch.equal(model.embed_tokens.weight, tensors["model.embed_tokens.weight"])
    assert model.weights_bytes() == sum(value.nbytes for value in tensors.values()), "a tied head takes no more"


def test_parts_of_a_fused_layer_stand_side_by_side(folder: Path):
    tensors = tensors_of(TINY_LLAMA)
    qkv, x = load(folder, tensors).layers[0].self_attn.qkv, torch.randn(3, 32)
    for part, name in zip(qkv.split(x), ("q_proj", "k_proj", "v_proj"), strict=True):
        torch.testing.assert_close(part, x @ tensors[f"model.layers.0.self_attn.{name}.weight"].T)


EXTRA = [f"{Q}.bias", "model.layers.1.self_attn.q_norm.weight", f"{Q}.lora_A.weight", f"{Q}.weight_scale", "model.layers.2.mlp.x"]


@pytest.mark.parametrize("name", EXTRA)
def test_a_tensor_that_nothing_reads_is_named(folder: Path, name: str):
    with pytest.raises(ModelUnsupported, match=f"has the tensor {name}, which Llama does not read"):
        load(folder, tensors_of(TINY_LLAMA) | {name: torch.ones(32)})
    with pytest.raises(ModelUnsupported, match=f"has 2 tensors, {name} first, which Llama does not read"):
        load(folder, tensors_of(TINY_LLAMA) | {name: torch.ones(32), "z": torch.ones(1)})


def test_a_vision_tower_beside_the_text_of_gemma_is_known_and_beside_llama_is_not(tmp_path: Path):
    more = {"vision_tower.encoder.weight": torch.ones(2)}
    load(write_config(tmp_path / "gemma", TINY_GEMMA3), tensors_of(TINY_GEMMA3) | more)
    with pytest.raises(ModelUnsupported, match="has the tensor vision_tower"):
        load(write_config(tmp_path / "llama"), tensors_of(TINY_LLAMA) | more)


def test_missing_tensors_are_named_as_the_file_would_name_them(folder: Path):
    tensors = tensors_of(TINY_LLAMA)
    del tensors[f"{Q}.weight"]
    with pytest.raises(ModelCorrupt, match=r"lacks the tensor layers\.0\.self_attn\.q_proj\.weight\n") as caught:
        load(folder, tensors)
    assert "incomplete" in caught.value.hint
    with pytest.raises(ModelCorrupt, match=rf"q_proj\.weight, and has the tensor {Q}\.qweight, which is not known here"):
        load(folder, tensors | {f"{Q}.qweight": torch.ones(4, dtype=torch.int32)})


def test_a_model_without_a_head_that_ties_nothing_is_incomplete(folder: Path):
    with pytest.raises(ModelCorrupt, match=r"lacks the tensor lm_head\.weight"):
        load(folder, tensors_of(TINY_LLAMA), override={"tie_word_embeddings": False})


@pytest.mark.parametrize("dtype, name", [(torch.int8, "I8"), (torch.float8_e4m3fn, "F8_E4M3"), (torch.uint8, "U8")])
def test_weights_that_are_no_floats_are_refused_though_the_config_says_nothing(folder: Path, dtype: torch.dtype, name: str):
    tensors = tensors_of(TINY_LLAMA)
    tensors[f"{Q}.weight"] = tensors[f"{Q}.weight"].to(dtype)
    with pytest.raises(ModelUnsupported, match=rf"{Q}\.weight is stored as {name}: the weights are quantised"):
        load(folder, tensors)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder: Path):
    tensors = tensors_of(TINY_LLAMA) | {"model.norm.weight": torch.ones(33)}
    with pytest.raises(ModelCorrupt, match=r"norm\.weight \[33\], its configuration wants \[32\] for norm\.weight"):
        load(folder, tensors)
    with pytest.raises(ModelCorrupt, match=r"k_proj\.weight \[16, 32\], its configuration wants \[8, 32\]"):
        load(folder, tensors_of(TINY_LLAMA), override={"num_key_value_heads": 1})


BFLOAT16 = """
import sys, torch
from pathlib import Path
from workbench.checkpoint.sources import RandomSource
from workbench.checkpoint.weights import Weights
from workbench.model.linear import Linear, packs
from workbench.model.load import load_model
assert torch.backends.cpu.get_cpu_capability() == "AVX2"
torch.manual_seed(0)
for dtype, close in ((torch.bfloat16, 0.05), (torch.float16, 0.01), (torch.float32, 1e-5)):
    linear, weights = Linear(64, 48), Weights(RandomSource(0), dtype, torch.device("cpu"))
    linear.load(weights)
    weight, x = weights.tensor("weight", 48, 64), torch.randn(5, 64).to(dtype)
    torch.testing.assert_close(linear(x).double(), x.double() @ weight.double().T, rtol=close, atol=close)
model = load_model(Path(sys.argv[1]), dtype=torch.bfloat16, device=torch.device("cpu"), dummy=True)
assert model.logits(torch.ones(3, 32, dtype=torch.bfloat16)).shape == (3, 256)
print(packs(torch.bfloat16), packs(torch.float32))
"""


@pytest.mark.process
@pytest.mark.skipif("AVX512" not in torch.backends.cpu.get_cpu_capability(), reason="needs AVX-512, to do without it")
def test_bfloat16_runs_on_a_processor_that_cannot_multiply_it(folder: Path):
    """Limits torch to AVX2; packing bfloat16 then fails, so it must not be tried on the weights."""
    limits = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    run = [sys.executable, "-c", BFLOAT16, str(folder)]
    result = subprocess.run(run, env=os.environ | limits, capture_output=True, text=True, check=False)
    assert result.stdout == "False True\n", result.stderr
    assert "no instructions for bfloat16" in result.stderr
