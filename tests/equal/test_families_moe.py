"""Mixtures of experts equal transformers' classes, or the arithmetic that is published."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import family
import pytest
import torch
from family import VOCAB
from safetensors.torch import load_file, save_file
from tiny_models import logits_of, planned, runner_of
from torch import nn
from torch.nn import functional as F

from workbench.checkpoint.weights import WeightForm
from workbench.kernels.products import FORMATS
from workbench.model.load import load_model
from workbench.types import Segment


@pytest.mark.parametrize("is_stacked", [False, True])
def test_mixtral(tmp_path: Path, is_stacked: bool):
    reference = family.made("mixtral", num_local_experts=5, sliding_window=24)
    folder = family.written(reference, tmp_path, save_original_format=not is_stacked)
    if not is_stacked:  # in the style of transformers 4
        family.restyled(folder, rope_parameters=None, rope_theta=1e6)
    family.hold(folder, reference)
    family.matters(reference, sliding_window=None)
    family.matters(reference, num_experts_per_tok=1)


QWEN_MOE: dict[str, Any] = {"num_experts_per_tok": 3, "moe_intermediate_size": 32}


def test_qwen_2_moe(tmp_path: Path):
    reference = family.made(
        "qwen2_moe", num_experts=8, shared_expert_intermediate_size=48, mlp_only_layers=[1], use_sliding_window=True,
        sliding_window=24, max_window_layers=2, **QWEN_MOE,
    )  # fmt: skip
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, norm_topk_prob=True)
    family.matters(reference, use_sliding_window=False, layer_types=None)


def test_qwen_2_moe_in_the_style_of_transformers_4(tmp_path: Path):
    reference = family.made(
        "qwen2_moe", num_experts=8, shared_expert_intermediate_size=48, decoder_sparse_step=2, rope_theta=5000.0, **QWEN_MOE
    )
    folder = family.written(reference, tmp_path)
    family.restyled(folder, rope_parameters=None, layer_types=None, rope_theta=5000.0)
    family.hold(folder, reference)


def test_qwen_3_moe(tmp_path: Path):
    reference = family.made("qwen3_moe", num_experts=8, head_dim=24, norm_topk_prob=True, mlp_only_layers=[0], **QWEN_MOE)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, norm_topk_prob=False)


def as_deepseek(reference: Any, folder: Path, words: dict[str, Any], router: str = "gate") -> Path:
    """Writes Qwen 2 MoE as DeepSeek V1, which no class of transformers is: the same but for the weight of the shared expert.

    Changes: that weight is one half in every row; so the written expert has half the numbers on its way out.
    """
    family.written(reference, folder)
    path, tensors = folder / "model.safetensors", dict[str, torch.Tensor]()
    for layer in reference.model.layers:
        if hasattr(layer.mlp, "shared_expert_gate"):
            layer.mlp.shared_expert_gate.weight.data.zero_()
    for name, x in load_file(path).items():
        if "shared_expert_gate" not in name:
            name = name.replace("shared_expert.", "shared_experts.").replace("mlp.gate.", f"mlp.{router}.")
            tensors[name] = x / 2 if "shared_experts.down_proj" in name else x
    save_file(tensors, path, {"format": "pt"})
    config = {key: value for key, value in json.loads((folder / "config.json").read_text()).items() if key in family.SIZES}
    config |= {"rms_norm_eps": 1e-6, "hidden_act": "silu", "rope_theta": 10000.0, "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config | words))
    return folder


@pytest.mark.parametrize("norm_topk_prob", [False, True])
def test_deepseek_1(tmp_path: Path, norm_topk_prob: bool):
    reference = family.made(
        "qwen2_moe", qkv_bias=False, num_experts=8, shared_expert_intermediate_size=64, mlp_only_layers=[0],
        norm_topk_prob=norm_topk_prob, **QWEN_MOE,
    )  # fmt: skip
    words = {
        "architectures": ["DeepseekForCausalLM"], "model_type": "deepseek", "n_routed_experts": 8, "n_shared_experts": 2,
        "num_experts_per_tok": 3, "moe_intermediate_size": 32, "first_k_dense_replace": 1, "moe_layer_freq": 1,
        "norm_topk_prob": norm_topk_prob, "scoring_func": "softmax", "aux_loss_alpha": 0.001, "seq_aux": True,
        "auto_map": {"AutoModelForCausalLM": "modeling_deepseek.DeepseekForCausalLM"},
    }  # fmt: skip
    family.hold(as_deepseek(reference, tmp_path, words), reference)
    family.matters(reference, norm_topk_prob=not norm_topk_prob)


def test_xverse_moe(tmp_path: Path):
    reference = family.made(
        "qwen2_moe", qkv_bias=False, num_experts=8, shared_expert_intermediate_size=192, num_experts_per_tok=3,
        moe_intermediate_size=96,
    )  # fmt: skip
    words = {
        "architectures": ["XverseMoeForCausalLM"], "model_type": "xverse", "num_experts": 8, "num_shared_experts": 2,
        "moe_top_k": 3,
    }  # fmt: skip
    family.hold(as_deepseek(reference, tmp_path, words, router="router"), reference)


def test_olmoe(tmp_path: Path):
    reference = family.made("olmoe", num_experts=8, num_experts_per_tok=3, clip_qkv=0.8, norm_topk_prob=True, attention_bias=True)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, clip_qkv=None)
    family.matters(reference, norm_topk_prob=False)


@pytest.mark.parametrize("style", [4, 5])
def test_dbrx(tmp_path: Path, style: int):
    reference = family.made(
        "dbrx", d_model=64, n_heads=4, n_layers=3, max_seq_len=512,
        attn_config={"clip_qkv": 0.8, "kv_n_heads": 2, "rope_theta": 5000.0},
        ffn_config={"moe_num_experts": 6, "moe_top_k": 3, "ffn_hidden_size": 48, "moe_normalize_expert_weights": 2.0},
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
    )  # fmt: skip
    folder = family.restyled(family.written(reference, tmp_path), intermediate_size=None)
    if style == 4:
        family.restyled(folder, rope_parameters=None, num_key_value_heads=None)
    family.hold(folder, reference)
    config = reference.config
    family.matters(reference, attn_config=config.attn_config.to_dict() | {"clip_qkv": 100.0})
    family.matters(reference, ffn_config=config.ffn_config.to_dict() | {"moe_normalize_expert_weights": 1.0})


def test_granite_moe(tmp_path: Path):
    factors = {"embedding_multiplier": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.6, "logits_scaling": 0.7}
    reference = family.made("granitemoe", num_local_experts=6, num_experts_per_tok=2, attention_bias=True, **factors)
    family.hold(family.written(reference, tmp_path), reference)
    for factor in factors:
        family.matters(reference, **{factor: 1.5})


def test_phi_3_5_moe(tmp_path: Path):
    reference = family.made("phimoe", num_local_experts=6, attention_bias=True, lm_head_bias=True, sliding_window=24,
                            router_jitter_noise=0.03)  # fmt: skip
    for layer in reference.model.layers:
        layer.mlp.router.weight.data *= 0.02  # so that logits are close, and a weight is not 1
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, router_jitter_noise=0.001)
    family.matters(reference, sliding_window=None)


def test_phi_3_5_moe_with_its_long_rotary_embedding(tmp_path: Path):
    """transformers takes the short divisors for texts of any length, and the published code does not, so both lists are one."""
    divisors = [1.0 + i / 4 for i in range(8)]
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 32, "short_factor": divisors,
            "long_factor": divisors, "short_mscale": 1.3, "long_mscale": 1.3}  # fmt: skip
    reference = family.made("phimoe", num_local_experts=6, rope_parameters=rope)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, rope_parameters=rope | {"short_mscale": 1.0, "long_mscale": 1.0})


class Grok(nn.Module):
    """Grok 1 in plain torch, from the description that xAI published; no class of transformers is it."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config, hidden, inner = config, config["hidden_size"], config["intermediate_size"]
        heads, kv, size = config["num_attention_heads"], config["num_key_value_heads"], hidden // config["num_attention_heads"]
        shapes = {
            "self_attn.q_proj": (heads * size, hidden), "self_attn.k_proj": (kv * size, hidden),
            "self_attn.v_proj": (kv * size, hidden), "self_attn.o_proj": (hidden, heads * size),
            "block_sparse_moe.gate": (config["num_local_experts"], hidden),
        }  # fmt: skip
        for expert in range(config["num_local_experts"]):
            names = {"w1": (inner, hidden), "w3": (inner, hidden), "w2": (hidden, inner)}
            shapes |= {f"block_sparse_moe.experts.{expert}.{name}": shape for name, shape in names.items()}
        shapes |= {f"{name}_norm": (hidden,) for name in ("pre_attn", "post_attn", "pre_moe", "post_moe")}
        named = {"model.embed_tokens": (VOCAB, hidden), "model.norm": (hidden,)}
        named |= {f"model.layers.{i}.{name}": shape for i in range(config["num_hidden_layers"]) for name, shape in shapes.items()}
        rng = torch.Generator().manual_seed(0)
        self.tensors = {
            f"{name}.weight": torch.randn(shape, generator=rng) * 0.15 + (len(shape) == 1) for name, shape in named.items()
        }

    def forward(self, ids: torch.Tensor, logits_to_keep: int = 0) -> SimpleNamespace:
        config, w = self.config, self.tensors
        x = w["model.embed_tokens.weight"][ids[0]] * config["embedding_multiplier_scale"]
        for layer in range(config["num_hidden_layers"]):
            own = {name.removeprefix(f"model.layers.{layer}.").removesuffix(".weight"): part for name, part in w.items()}
            x = x + self.norm(self.attention(self.norm(x, own["pre_attn_norm"]), own), own["post_attn_norm"])
            x = x + self.norm(self.experts(self.norm(x, own["pre_moe_norm"]), own), own["post_moe_norm"])
        logits = self.norm(x, w["model.norm.weight"]) @ w["model.embed_tokens.weight"].T * config["output_multiplier_scale"]
        return SimpleNamespace(logits=logits[None, -logits_to_keep:])

    def norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight

    def attention(self, x: torch.Tensor, w: dict[str, torch.Tensor]) -> torch.Tensor:
        length, heads = len(x), self.config["num_attention_heads"]
        q, k, v = ((x @ w[f"self_attn.{name}_proj"].T).view(length, -1, x.shape[1] // heads) for name in "qkv")
        half = q.shape[-1] // 2
        angles = torch.arange(length)[:, None, None] / 10000 ** (torch.arange(half) / half)

        def turned(y: torch.Tensor) -> torch.Tensor:
            one, two = y[..., :half], y[..., half:]
            return torch.cat((one * angles.cos() - two * angles.sin(), two * angles.cos() + one * angles.sin()), -1)

        k, v = (y.repeat_interleave(heads // y.shape[1], 1) for y in (turned(k), v))
        scores = torch.einsum("thd,shd->hts", turned(q), k) * self.config["attn_output_multiplier"]
        cap = self.config["max_attn_value"]
        scores = (cap * torch.tanh(scores / cap)).masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
        return torch.einsum("hts,shd->thd", scores.softmax(-1), v).flatten(1) @ w["self_attn.o_proj"].T

    def experts(self, x: torch.Tensor, w: dict[str, torch.Tensor]) -> torch.Tensor:
        probabilities = (30 * torch.tanh(x @ w["block_sparse_moe.gate"].T / 30)).softmax(-1)
        rows = []
        for row, weights in zip(x, probabilities, strict=True):
            best = weights.topk(2)
            total = torch.zeros_like(row)
            for weight, index in zip(best.values, best.indices, strict=True):
                gate, up, down = (w[f"block_sparse_moe.experts.{index}.{name}"] for name in ("w1", "w3", "w2"))
                total += weight * (down @ (F.gelu(gate @ row, approximate="tanh") * (up @ row)))
            rows.append(total)
        return torch.stack(rows)


GROK: dict[str, Any] = {
    **family.SIZES, "architectures": ["Grok1ModelForCausalLM"], "num_hidden_layers": 2, "num_local_experts": 6,
    "num_experts_per_tok": 2, "attn_output_multiplier": 0.5, "max_attn_value": 2.0, "embedding_multiplier_scale": 3.0,
    "output_multiplier_scale": 0.6, "rms_norm_eps": 1e-5,
}  # fmt: skip


def test_grok_1(tmp_path: Path):
    reference = Grok(GROK)
    save_file(reference.tensors, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(GROK))
    family.hold(tmp_path, reference)
    expected = family.logits(reference, family.PROMPTS[3])
    for key in ("attn_output_multiplier", "max_attn_value", "embedding_multiplier_scale", "output_multiplier_scale"):
        reference.config = GROK | {key: 1.0}
        assert (family.logits(reference, family.PROMPTS[3]) - expected).abs().max() > 1e-2


def test_gpt_oss(tmp_path: Path):
    rope = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
            "original_max_position_embeddings": 32}  # fmt: skip
    reference = family.made("gpt_oss", num_local_experts=6, num_experts_per_tok=2, head_dim=16, sliding_window=24,
                            swiglu_limit=0.8, rope_parameters=rope)  # fmt: skip
    for layer in reference.model.layers:
        torch.nn.init.normal_(layer.self_attn.sinks, 1.0, 2.0)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, swiglu_limit=7.0)
    family.matters(reference, swiglu_alpha=1.0)
    family.matters(reference, layer_types=["full_attention"] * 3)
    family.matters(reference, rope_parameters=rope | {"truncate": True})
    expected = family.logits(reference, family.PROMPTS[3])
    for layer in reference.model.layers:
        layer.self_attn.sinks.data.fill_(-100.0)
    assert (family.logits(reference, family.PROMPTS[3]) - expected).abs().max() > 1e-2, "sinks change nothing"


FOUR_BITS = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])


def in_mxfp4(experts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns experts [E, in, out] rounded, their codes [E, out, groups, 16], and the powers of two [E, out, groups]."""
    groups = experts.transpose(1, 2).unflatten(-1, (-1, 32))
    powers = (groups.abs().amax(-1) / 6).log2().ceil()
    codes = ((groups / powers.exp2()[..., None])[..., None] - FOUR_BITS).abs().argmin(-1)
    rounded = (FOUR_BITS[codes] * powers.exp2()[..., None]).flatten(-2).transpose(1, 2)
    return rounded.contiguous(), (codes[..., 0::2] | codes[..., 1::2] << 4).to(torch.uint8), (powers + 127).to(torch.uint8)


def test_gpt_oss_as_it_is_published(tmp_path: Path):
    """The numbers of the experts have four bits; the blocks of the kernels hold them unchanged."""
    reference = family.made("gpt_oss", num_local_experts=4, num_experts_per_tok=2, head_dim=16, sliding_window=24)
    stored = {}
    for layer, block in enumerate(reference.model.layers):
        for name in ("gate_up_proj", "down_proj"):
            rounded, codes, powers = in_mxfp4(getattr(block.mlp.experts, name).data)
            getattr(block.mlp.experts, name).data = rounded
            stem = f"model.layers.{layer}.mlp.experts.{name}"
            stored |= {f"{stem}_blocks": codes, f"{stem}_scales": powers}
    path = family.written(reference, tmp_path) / "model.safetensors"
    dense = {name: x for name, x in load_file(path).items() if f"{name}_blocks" not in stored}
    save_file(dense | stored, path, {"format": "pt"})
    family.restyled(tmp_path, quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    family.hold(tmp_path, reference)
    kept = load_model(tmp_path, dtype=torch.float32, device=torch.device("cpu"), form=WeightForm(FORMATS))
    assert kept.quantization == "mxfp4"
    prompt = family.PROMPTS[3]
    whole = planned(1, list(prompt), 0, len(prompt), [Segment(0, tuple(range(len(prompt))))])
    got = logits_of(runner_of(kept, "torch"), whole)
    torch.testing.assert_close(got, family.logits(reference, prompt), rtol=1e-4, atol=1e-4)
