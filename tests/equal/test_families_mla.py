"""Models with attention over latents equal transformers' classes, in both forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import family
import oracle
import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench import Engine
from workbench.attention.registry import create_store
from workbench.checkpoint.weights import WeightForm
from workbench.errors import ModelCorrupt
from workbench.kernels.products import FORMATS
from workbench.model.linear import BlockWeight
from workbench.model.load import load_model
from workbench.model.moe import Experts

LATENT: dict[str, Any] = {
    "q_lora_rank": 24, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 12,
    "num_key_value_heads": 4, "n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 32,
    "n_shared_experts": 2, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 1.5,
}  # fmt: skip
YARN: dict[str, Any] = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 32, "beta_fast": 32.0,
    "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 0.7,
}  # fmt: skip
PLAIN: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
both_forms = pytest.mark.parametrize("is_plain", [False, True], ids=["absorbed", "plain"])


def in_form(folder: Path, is_plain: bool) -> Path:
    return family.restyled(folder, disable_mla=True) if is_plain else folder


@both_forms
def test_deepseek_2(tmp_path: Path, is_plain: bool):
    reference = family.made("deepseek_v2", topk_method="group_limited_greedy", rope_parameters=YARN, **LATENT)
    family.hold(in_form(family.written(reference, tmp_path), is_plain), reference)
    family.matters(reference, topk_method="greedy")
    family.matters(reference, rope_parameters=YARN | {"mscale_all_dim": 0.0})
    family.matters(reference, routed_scaling_factor=1.0)


def test_deepseek_2_lite_in_the_style_of_transformers_4(tmp_path: Path):
    reference = family.made("deepseek_v2", rope_parameters=YARN, **LATENT | {"q_lora_rank": None})
    folder = family.written(reference, tmp_path)
    scaling = {"type": "yarn", **{key: value for key, value in YARN.items() if not key.startswith("rope_")}}
    family.restyled(
        folder, rope_parameters=None, rope_theta=10000.0, rope_scaling=scaling, qk_head_dim=None, scoring_func="softmax"
    )
    family.hold(folder, reference)


@both_forms
def test_deepseek_3(tmp_path: Path, is_plain: bool):
    reference = family.made("deepseek_v3", rope_parameters=YARN, num_mtp_layers=1, **LATENT)
    for layer in reference.model.layers[1:]:
        torch.nn.init.normal_(layer.mlp.gate.e_score_correction_bias, 0, 0.5)
    folder = in_form(family.written(reference, tmp_path), is_plain)
    with_layer_beyond(folder)
    family.hold(folder, reference)
    family.matters(reference, norm_topk_prob=False)
    family.matters(reference, topk_group=4)
    family.matters(reference, rope_parameters=PLAIN)
    family.matters(reference, rope_interleave=False)


def with_layer_beyond(folder: Path) -> None:
    """Changes: adds a layer that predicts a further token, as the published files have it."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    more = {name.replace("layers.2.", "layers.3."): x.clone() for name, x in tensors.items() if ".layers.2." in name}
    more |= {f"model.layers.3.{name}": torch.zeros(64, 128) for name in ("eh_proj.weight", "shared_head.head.weight")}
    save_file(tensors | more, path, {"format": "pt"})


def in_float8(model: Any, folder: Path) -> Path:
    """Writes a folder whose matrices are float8 with a scale for 128 x 128 numbers, as DeepSeek publishes them."""
    family.written(model, folder)
    path, stored = folder / "model.safetensors", {}
    for name, weight in load_file(folder / "model.safetensors").items():
        if weight.dim() != 2 or ".layers." not in name or ".gate." in name:
            stored[name] = weight
            continue
        rows, columns = (range(0, size, 128) for size in weight.shape)
        scales = torch.tensor([[weight[i : i + 128, j : j + 128].abs().max() / 448 for j in columns] for i in rows])
        spread = scales.repeat_interleave(128, 0).repeat_interleave(128, 1)[: weight.shape[0], : weight.shape[1]]
        stored[name] = (weight / spread).to(torch.float8_e4m3fn)
        stored[f"{name}_scale_inv"] = scales
    save_file(stored, path, {"format": "pt"})
    quantised = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    return family.restyled(folder, quantization_config=quantised)


def test_deepseek_3_in_float8_blocks(tmp_path: Path):
    sizes = {"hidden_size": 128, "kv_lora_rank": 128, "q_lora_rank": 128, "moe_intermediate_size": 128, "intermediate_size": 160}
    reference = family.made("deepseek_v3", **LATENT | sizes | {"v_head_dim": 32})
    folder = in_float8(reference, tmp_path / "float8")
    stored = load_file(folder / "model.safetensors")
    rounded = {name: dequantised(stored, name) for name in stored if not name.endswith("_inv")}
    save_file(rounded, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    family.restyled(tmp_path, quantization_config=None)
    reference = type(reference).from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="eager").eval()
    family.hold(folder, reference)
    kept = load_model(folder, dtype=torch.float32, device=torch.device("cpu"), form=WeightForm(FORMATS))
    experts = next(module for module in kept.modules() if isinstance(module, Experts))
    assert all(isinstance(expert.gate_up.weight, BlockWeight) for expert in experts.each)
    got, want = family.run(family.open_core(kept), family.PROMPTS), [oracle.greedy(reference, one, 24) for one in family.PROMPTS]
    assert oracle.differences(got, want) <= 1


def dequantised(stored: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    if f"{name}_scale_inv" not in stored:
        return stored[name]
    codes = stored[name].float()
    spread = stored[f"{name}_scale_inv"].repeat_interleave(128, 0).repeat_interleave(128, 1)
    return codes * spread[: codes.shape[0], : codes.shape[1]]


def test_the_argument_disable_mla_gives_the_same_tokens_in_more_memory(tmp_path: Path):
    folder = family.written(family.made("deepseek_v3", **LATENT), tmp_path)
    found, memory = [], []
    for disable_mla in (False, True):
        with Engine(
            str(folder), skip_tokenizer_init=True, dtype="float32", max_total_tokens=256, disable_mla=disable_mla
        ) as engine:
            outputs = engine.generate(input_ids=list(family.PROMPTS[0]), sampling_params={"temperature": 0, "max_new_tokens": 12})
            found.append(outputs["output_ids"])
            memory.append(engine.memory()["kv_bytes_per_token"])
    assert found[0] == found[1]
    assert memory == [3 * 4 * (32 + 8), 3 * 4 * 4 * (16 + 8 + 12)]


@both_forms
def test_minicpm_3(tmp_path: Path, is_plain: bool):
    latent = {key: value for key, value in LATENT.items() if "expert" not in key and "group" not in key and "moe" not in key}
    latent = {key: value for key, value in latent.items() if key not in ("first_k_dense_replace", "routed_scaling_factor")}
    reference = family.made("minicpm3", scale_emb=3, scale_depth=1.2, dim_model_base=16, **latent)
    family.hold(in_form(family.written(reference, tmp_path), is_plain), reference)
    for factor in ("scale_emb", "scale_depth", "dim_model_base"):
        family.matters(reference, **{factor: 5})


@both_forms
def test_a_token_takes_the_memory_of_its_latent(tmp_path: Path, is_plain: bool):
    reference = family.made("deepseek_v2", **LATENT)
    model = load_model(in_form(family.written(reference, tmp_path), is_plain), dtype=torch.float32, device=torch.device("cpu"))
    store = create_store(model.attention_specs(), 8, torch.float32, torch.device("cpu"))
    numbers = 4 * (16 + 8 + 12) if is_plain else 32 + 8
    assert store.bytes_per_token == 3 * numbers * 4


def test_a_config_whose_sizes_differ_is_refused(tmp_path: Path):
    folder = family.restyled(family.written(family.made("deepseek_v2", **LATENT), tmp_path), qk_head_dim=25)
    with pytest.raises(ModelCorrupt, match="qk_head_dim = 25, and its parts have 24 numbers"):
        load_model(folder, dtype=torch.float32, device=torch.device("cpu"))
