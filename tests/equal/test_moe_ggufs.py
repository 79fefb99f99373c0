"""GGUF files of mixtures of experts, as llama.cpp's converter writes them, are the models that transformers has."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import family
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf_writer import neighbours, sizes, stacked, write
from safetensors.torch import load_file
from test_families_mla import LATENT, YARN
from test_families_moe import GROK, QWEN_MOE, Grok, as_deepseek

from workbench import cli
from workbench.checkpoint.weights import WeightForm
from workbench.kernels.products import FORMATS
from workbench.model.families.qwen_moe import Qwen2MoeForCausalLM
from workbench.model.linear import BlockWeight
from workbench.model.load import load_model
from workbench.model.moe import Experts


def tensors_of(reference: Any, folder: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors by the names that transformers writes."""
    return load_file(family.written(reference, folder) / "model.safetensors")


def experts_of(reference: Any) -> dict[str, Any]:
    config = reference.config
    return sizes(config) | {"expert_count": config.num_local_experts, "expert_used_count": config.num_experts_per_tok}


@pytest.mark.parametrize("is_older", [False, True])
def test_mixtral(tmp_path: Path, is_older: bool):
    reference = family.made("mixtral", num_local_experts=5)
    tensors = tensors_of(reference, tmp_path)
    if is_older:  # a tensor for each expert
        words = {"w1": "gate", "w2": "down", "w3": "up"}
        pattern = re.compile(r"model\.layers\.(\d+)\.block_sparse_moe\.experts\.(\d+)\.(w\d)\.weight")
        tensors = {
            pattern.sub(lambda match: f"blk.{match[1]}.ffn_{words[match[3]]}.{match[2]}.weight", name): tensor
            for name, tensor in tensors.items()
        }
    path = write(tmp_path / "m.gguf", "llama", experts_of(reference), tensors, changed=neighbours(reference.config))
    family.hold(path, reference)


def qwen_2(**values: Any) -> Any:
    return family.made("qwen2_moe", num_experts=8, shared_expert_intermediate_size=64, **QWEN_MOE | values)


def written_qwen_2(reference: Any, folder: Path, kind: GGMLQuantizationType = GGMLQuantizationType.F32) -> Path:
    meta = sizes(reference.config) | {"expert_count": 8, "expert_used_count": 3}
    meta |= {"expert_feed_forward_length": 32, "expert_shared_feed_forward_length": 64}
    return write(folder / "m.gguf", "qwen2moe", meta, tensors_of(reference, folder), kind)


def test_qwen_2_moe(tmp_path: Path):
    reference = qwen_2()
    family.hold(written_qwen_2(reference, tmp_path), reference)


def test_quantised_experts_are_computed_where_they_lie_in_the_file(tmp_path: Path):
    reference = qwen_2(hidden_size=64)
    path = written_qwen_2(reference, tmp_path, GGMLQuantizationType.Q8_0)
    kept, dense = (
        load_model(path, dtype=torch.float32, device=torch.device("cpu"), form=WeightForm(keeps)) for keeps in (FORMATS, ())
    )
    experts = next(module for module in kept.modules() if isinstance(module, Experts))
    parts = [[expert.gate_up.weight, expert.down_proj.weight] for expert in experts.each]
    assert all(isinstance(weight, BlockWeight) for both in parts for weight in both)
    places = [both[1].matrix._parts[0].data.data_ptr() for both in parts]
    assert {after - before for before, after in pairwise(places)} == {64 * 34}, "rows of the file, not copied"
    x = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for one, other in zip(kept.layers, dense.layers, strict=True):
            whole = one.mlp(x)
            torch.testing.assert_close(whole, other.mlp(x), rtol=0.05, atol=0.05)
            assert all(torch.equal(one.mlp(x[i : i + 1])[0], whole[i]) for i in range(len(x)))


def test_qwen_3_moe(tmp_path: Path):
    reference = family.made("qwen3_moe", num_experts=8, head_dim=24, norm_topk_prob=True, **QWEN_MOE)
    meta = experts_of(reference) | {"expert_feed_forward_length": 32}
    family.hold(write(tmp_path / "m.gguf", "qwen3moe", meta, tensors_of(reference, tmp_path)), reference)


def test_phi_3_5_moe(tmp_path: Path):
    divisors = [1.0 + i / 4 for i in range(8)]
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 32, "short_factor": divisors,
            "long_factor": divisors, "short_mscale": 1.3, "long_mscale": 1.3}  # fmt: skip
    reference = family.made(
        "phimoe", num_local_experts=6, attention_bias=True, lm_head_bias=True, sliding_window=24, rope_parameters=rope
    )
    tensors = tensors_of(reference, tmp_path)
    tensors |= {f"rope_factors_{one}.weight": torch.tensor(divisors) for one in ("short", "long")}
    meta = experts_of(reference) | {"attention.sliding_window": 24, "rope.scaling.original_context_length": 32}
    family.hold(write(tmp_path / "m.gguf", "phimoe", meta | {"rope.scaling.attn_factor": 1.3}, tensors), reference)


def test_olmoe(tmp_path: Path):
    reference = family.made("olmoe", num_experts=8, num_experts_per_tok=3)
    family.hold(write(tmp_path / "m.gguf", "olmoe", experts_of(reference), tensors_of(reference, tmp_path)), reference)


def test_dbrx(tmp_path: Path):
    reference = family.made(
        "dbrx", d_model=64, n_heads=4, n_layers=3, max_seq_len=512,
        attn_config={"clip_qkv": 0.8, "kv_n_heads": 2, "rope_theta": 1e4},
        ffn_config={"moe_num_experts": 6, "moe_top_k": 3, "ffn_hidden_size": 48},
    )  # fmt: skip

    tensors = {}
    for name, tensor in tensors_of(reference, tmp_path).items():
        if "experts" in name:
            parts = tensor.view(6, 48, 64)
            tensors[f"{name}.weight"] = parts.transpose(1, 2) if name.endswith("w2") else parts
        else:
            tensors[name] = tensor
    meta = sizes(reference.config) | {"expert_count": 6, "expert_used_count": 3, "attention.clamp_kqv": 0.8}
    del meta["attention.layer_norm_rms_epsilon"], meta["rope.dimension_count"]
    meta |= {"attention.layer_norm_epsilon": 1e-5, "feed_forward_length": 48}
    family.hold(write(tmp_path / "m.gguf", "dbrx", meta, tensors), reference)


def test_granite_moe(tmp_path: Path):
    factors = {"embedding_multiplier": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.6, "logits_scaling": 0.7}
    reference = family.made("granitemoe", num_local_experts=6, num_experts_per_tok=2, **factors)
    tensors, inner = {}, reference.config.intermediate_size
    for name, tensor in tensors_of(reference, tmp_path).items():
        if "input_linear" not in name:
            tensors[name] = tensor
            continue
        stem = name.replace("block_sparse_moe.input_linear.weight", "mlp.experts")
        tensors |= {f"{stem}.gate_proj.weight": tensor[:, :inner], f"{stem}.up_proj.weight": tensor[:, inner:]}
    keys = ("embedding_scale", "attention.scale", "residual_scale", "logit_scale")
    meta = experts_of(reference) | dict(zip(keys, factors.values(), strict=True))
    path = write(tmp_path / "m.gguf", "granitemoe", meta, tensors, changed=neighbours(reference.config))
    family.hold(path, reference)


def test_deepseek_1(tmp_path: Path):
    reference = qwen_2(qkv_bias=False, mlp_only_layers=[0])
    tensors = load_file(as_deepseek(reference, tmp_path, {}) / "model.safetensors")
    meta = sizes(reference.config) | {"expert_count": 8, "expert_used_count": 3, "expert_shared_count": 2}
    meta |= {"leading_dense_block_count": 1, "expert_weights_scale": 1.0, "rope.scaling.type": "none"}
    path = write(tmp_path / "m.gguf", "deepseek", meta, tensors, changed=neighbours(reference.config))
    family.hold(path, reference)


def latent_meta(config: Any) -> dict[str, Any]:
    meta = sizes(config) | {
        "attention.key_length": 24, "attention.value_length": 12, "attention.kv_lora_rank": 32, "rope.dimension_count": 8,
        "attention.q_lora_rank": config.q_lora_rank,
    }  # fmt: skip
    return {key: value for key, value in meta.items() if value is not None}


@pytest.mark.parametrize("is_new", [False, True], ids=["kv_b", "k_b and v_b"])
@pytest.mark.parametrize("version", [2, 3])
def test_deepseek_2_and_3(tmp_path: Path, version: int, is_new: bool):
    yarn = YARN | {"mscale": 0.7, "mscale_all_dim": 0.7}
    more = {"topk_method": "group_limited_greedy"} if version == 2 else {"num_mtp_layers": 0}
    reference = family.made(f"deepseek_v{version}", rope_parameters=yarn, **LATENT | more)
    config = reference.config
    for layer in reference.model.layers[1:] if version == 3 else ():
        torch.nn.init.normal_(layer.mlp.gate.e_score_correction_bias, 0, 0.5)
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in tensors_of(reference, tmp_path).items():
        if is_new and "kv_b_proj" in name:
            keys, values = tensor.view(4, 16 + 12, 32).split((16, 12), 1)
            tensors |= {name.replace("kv_b", "k_b"): keys.transpose(1, 2), name.replace("kv_b", "v_b"): values}
        else:
            tensors[name.replace("e_score_correction_bias", "e_score_correction.bias")] = tensor
    meta = latent_meta(config) | {
        "expert_count": 8, "expert_used_count": 3, "expert_shared_count": 2, "leading_dense_block_count": 1,
        "expert_feed_forward_length": 32, "expert_weights_scale": 1.5, "expert_weights_norm": version == 3,
        "expert_gating_func": version - 1, "expert_group_count": 4, "expert_group_used_count": 2,
        "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 32,
        "rope.scaling.yarn_log_multiplier": 0.07,
    }  # fmt: skip
    if is_new:
        meta |= {"attention.key_length": 32 + 8, "attention.value_length": 32, "attention.head_count_kv": 1}
        meta |= {"attention.key_length_mla": 24, "attention.value_length_mla": 12}
    family.hold(write(tmp_path / "m.gguf", "deepseek2", meta, tensors), reference)


def test_minicpm_3(tmp_path: Path):
    latent = {key: LATENT[key] for key in ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")}
    reference = family.made("minicpm3", num_key_value_heads=4, **latent)  # its factors are the published ones: files have none
    meta = latent_meta(reference.config)
    del meta["attention.value_length"]
    family.hold(write(tmp_path / "m.gguf", "minicpm3", meta, tensors_of(reference, tmp_path)), reference)


def test_grok_1(tmp_path: Path):
    reference = Grok(GROK)
    words = {
        "model.embed_tokens": "transformer.in_out_embed", "model.norm": "transformer.rms_norm",
        "model.layers": "transformer.decoder_layer", "self_attn.q_proj": "multi_head_attention.query",
        "self_attn.k_proj": "multi_head_attention.key", "self_attn.v_proj": "multi_head_attention.value",
        "self_attn.o_proj": "multi_head_attention.linear", "pre_attn_norm": "rms_norm", "post_attn_norm": "rms_norm_1",
        "pre_moe_norm": "rms_norm_2", "post_moe_norm": "rms_norm_3", "block_sparse_moe.gate": "router",
        "block_sparse_moe.experts": "moe.experts", "w1": "gate", "w3": "up", "w2": "down",
    }  # fmt: skip
    tensors = {}
    for name, tensor in reference.tensors.items():
        for ours, theirs in words.items():
            name = name.replace(ours, theirs)
        tensors[name] = tensor
    experts = {"gate": "linear", "up": "linear_v", "down": "linear_1"}
    tensors = {
        re.sub(r"moe\.experts\.(\w+)", lambda match: f"moe.{experts[match[1]]}", name): tensor
        for name, tensor in stacked(tensors).items()
    }
    config = type("Config", (), {**GROK, "rope_parameters": {"rope_theta": 10000.0}})
    meta = sizes(config) | {
        "expert_count": 6,
        "expert_used_count": 2,
        "attention.output_scale": 0.5,
        "attn_logit_softcapping": 2.0,
    }
    meta |= {"embedding_scale": 3.0, "logit_scale": 0.6, "router_logit_softcapping": 30.0}
    family.hold(write(tmp_path / "m.gguf", "grok", meta, tensors), reference)


def test_gpt_oss(tmp_path: Path):
    rope = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
            "original_max_position_embeddings": 32}  # fmt: skip
    reference = family.made(
        "gpt_oss", num_local_experts=6, num_experts_per_tok=2, head_dim=16, sliding_window=24, rope_parameters=rope
    )
    tensors = {}
    for name, tensor in tensors_of(reference, tmp_path).items():
        stem, _, leaf = name.partition(".experts.")
        if leaf.startswith("gate_up"):
            kind, columns = ("bias", tensor) if leaf.endswith("bias") else ("weight", tensor.transpose(1, 2))
            tensors |= {f"{stem}.experts.{part}_proj.{kind}": columns[:, i::2] for i, part in enumerate(("gate", "up"))}
        elif leaf.startswith("down"):
            kind, columns = ("bias", tensor) if leaf.endswith("bias") else ("weight", tensor.transpose(1, 2))
            tensors[f"{stem}.experts.down_proj.{kind}"] = columns
        else:
            tensors[f"{name}.weight" if name.endswith("sinks") else name] = tensor
    meta = experts_of(reference) | {
        "attention.sliding_window": 24, "expert_feed_forward_length": 96, "rope.scaling.type": "yarn",
        "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 32,
    }  # fmt: skip
    family.hold(write(tmp_path / "m.gguf", "gpt-oss", meta, tensors), reference)


def test_a_written_file_keeps_its_routers(tmp_path: Path):
    reference = qwen_2()
    path = tmp_path / "q4_0.gguf"
    assert cli.main(["models", "quantize", str(written_qwen_2(reference, tmp_path)), "--to", "q4_0", "--output", str(path)]) == 0
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(path).tensors}
    assert kinds["blk.1.ffn_gate_inp.weight"] == "F32"
    assert kinds["blk.1.ffn_up_exps.weight"] == "Q4_0"
    model = load_model(path, dtype=torch.float32, device=torch.device("cpu"))
    assert isinstance(model, Qwen2MoeForCausalLM)
