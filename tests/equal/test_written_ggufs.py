"""`models quantize` writes each family as a GGUF file: read again it gives the logits of the folder that it was made of.

The folders are held to their oracles by the other files of this folder. The names in a file are those that the `gguf` package
has for its architecture.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import family
import gguf
import pytest
import torch
from safetensors.torch import save_file
from test_families_mla import LATENT, YARN
from test_families_moe import GROK, QWEN_MOE
from tiny_models import logits_of, open_runner, planned
from tiny_tokenizers import KINDS, wrap

from workbench.bench.random_model import NoTensors
from workbench.checkpoint.sources import Survey
from workbench.errors import ModelUnsupported
from workbench.model.check import check_model
from workbench.model.families import baichuan
from workbench.model.registry import FAMILIES
from workbench.model.tiny import write_config
from workbench.quantize.run import quantize_model
from workbench.quantize.sources import shapes_of
from workbench.types import Segment

PROMPT = family.PROMPTS[3]
VOCAB = {"vocab_size": 420, "eos_token_id": 1}
ROPE = {"rope_type": "default", "rope_theta": 500.0}
PARTIAL = ROPE | {"partial_rotary_factor": 0.5}
LLAMA_3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 500000.0,
           "original_max_position_embeddings": 8192}  # fmt: skip
LONG = {"rope_type": "longrope", "rope_theta": 500.0, "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
        "long_factor": [1.0, 2.0, 3.0, 5.0, 8.0, 13.0], "partial_rotary_factor": 0.75, "factor": 4.0}  # fmt: skip
FACTORS = {"embedding_multiplier": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.6, "logits_scaling": 0.7}
OF_MINICPM = {key: LATENT[key] for key in ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")}

MADE: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral": ("mistral", {"sliding_window": None, "rope_parameters": LLAMA_3}),
    "phi3": ("phi3", {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0},
                      "sliding_window": 24}),
    "phi3 long": ("phi3", {"rope_parameters": LONG, "sliding_window": 24, "original_max_position_embeddings": 32}),
    "smollm3": ("smollm3", {"num_hidden_layers": 4, "attention_bias": True, "rope_parameters": ROPE}),
    "stablelm": ("stablelm", {"rope_parameters": PARTIAL, "use_qkv_bias": True}),
    "stablelm 2": ("stablelm", {"rope_parameters": PARTIAL, "qk_layernorm": True, "use_parallel_residual": True}),
    "cohere": ("cohere", {"logit_scale": 0.3, "use_qk_norm": True, "rope_parameters": ROPE}),
    "cohere2": ("cohere2", {"logit_scale": 0.3, "sliding_window": 24, "num_hidden_layers": 4, "rope_parameters": ROPE}),
    "glm": ("glm", {"head_dim": 24, "rope_parameters": PARTIAL, "attention_bias": True}),
    "glm4": ("glm4", {"head_dim": 24, "rope_parameters": PARTIAL, "attention_bias": True}),
    "phi": ("phi", {"rope_parameters": PARTIAL}),
    "starcoder2": ("starcoder2", {"rope_parameters": ROPE, "sliding_window": None}),
    "gpt2": ("gpt2", {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512}),
    "mixtral": ("mixtral", {"num_local_experts": 5}),
    "qwen 2 moe": ("qwen2_moe", {"num_experts": 8, "shared_expert_intermediate_size": 48} | QWEN_MOE),
    "qwen 3 moe": ("qwen3_moe", {"num_experts": 8, "head_dim": 24, "norm_topk_prob": True} | QWEN_MOE),
    "olmoe": ("olmoe", {"num_experts": 8, "num_experts_per_tok": 3}),
    "dbrx": ("dbrx", {"d_model": 64, "n_heads": 4, "n_layers": 3, "max_seq_len": 512,
                      "attn_config": {"clip_qkv": 0.8, "kv_n_heads": 2, "rope_theta": 5000.0},
                      "ffn_config": {"moe_num_experts": 6, "moe_top_k": 3, "ffn_hidden_size": 48},
                      "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}),
    "granite moe": ("granitemoe", {"num_local_experts": 6, "num_experts_per_tok": 2, "attention_bias": True} | FACTORS),
    "phi 3.5 moe": ("phimoe", {"num_local_experts": 6, "attention_bias": True, "lm_head_bias": True, "sliding_window": 24}),
    "gpt-oss": ("gpt_oss", {"num_local_experts": 6, "num_experts_per_tok": 2, "head_dim": 16, "sliding_window": 24,
                            "rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0, "factor": 8.0, "truncate": False,
                                                "original_max_position_embeddings": 32}}),
    "minicpm 3": ("minicpm3", {"num_key_value_heads": 4} | OF_MINICPM),
    "deepseek 2": ("deepseek_v2", {"topk_method": "group_limited_greedy", "rope_parameters": YARN | {"mscale": 0.7}} | LATENT),
    "deepseek 2 lite": ("deepseek_v2", LATENT | {"q_lora_rank": None}),
    "deepseek 3": ("deepseek_v3", {"rope_parameters": YARN | {"mscale": 0.7}, "num_mtp_layers": 0} | LATENT),
}  # fmt: skip
"""Models that transformers writes."""
WORDS = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 512,
         "intermediate_size": 96, "hidden_act": "silu", "rms_norm_eps": 1e-6}  # fmt: skip
SEEDED: dict[str, dict[str, Any]] = {
    "ChatGLMModel": {"hidden_size": 64, "num_layers": 3, "num_attention_heads": 4, "kv_channels": 24, "ffn_hidden_size": 96,
                     "multi_query_attention": True, "multi_query_group_num": 2, "padded_vocab_size": 420, "seq_length": 512,
                     "layernorm_epsilon": 1e-5, "add_qkv_bias": True, "rope_ratio": 2},
    "InternLM2ForCausalLM": WORDS | {"bias": False, "num_key_value_heads": 2, "rope_theta": 500.0},
    "ExaoneForCausalLM": {"num_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
                          "intermediate_size": 96, "layer_norm_epsilon": 1e-5, "activation_function": "silu",
                          "max_position_embeddings": 512, "rope_theta": 500000.0,
                          "rope_scaling": {key: value for key, value in LLAMA_3.items() if key != "rope_theta"}},
    "XverseForCausalLM": WORDS,
    "BaiChuanForCausalLM": WORDS,
    "BaichuanForCausalLM": WORDS | {"z_loss_weight": 0},
    "MiniCPMForCausalLM": WORDS | {"num_key_value_heads": 2, "scale_emb": 6, "scale_depth": 1.4, "dim_model_base": 16},
    "QWenLMHeadModel": {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 192,
                        "layer_norm_epsilon": 1e-6, "rotary_emb_base": 500.0, "kv_channels": 16, "seq_length": 512,
                        "max_position_embeddings": 512, "use_dynamic_ntk": True, "use_logn_attn": True},
    "DeepseekForCausalLM": WORDS | {"n_routed_experts": 8, "n_shared_experts": 2, "num_experts_per_tok": 3,
                                    "moe_intermediate_size": 32, "first_k_dense_replace": 1},
    "Grok1ForCausalLM": GROK,
}  # fmt: skip
"""Configurations of architectures without a class in transformers, whose folders get seeded tensors."""


def made(folder: Path, case: str) -> Path:
    model_type, values = MADE[case]
    family.written(family.made(model_type, **VOCAB | values), folder)
    words: dict[str, Any] = {"gpt2": {"num_key_value_heads": None}, "dbrx": {}}  # that have words of their own for these
    return family.restyled(folder, intermediate_size=None, **words[case]) if case in words else folder


def seeded(folder: Path, architecture: str) -> Path:
    """Writes a folder with every tensor that the family reads, under the first of the names that a file may have."""
    config = {"architectures": [architecture], "model_type": FAMILIES[architecture].model_type, "torch_dtype": "float32"}
    write_config(folder, config | VOCAB | SEEDED[architecture])
    checked = check_model(folder)
    names = checked.family.safetensors_names(checked.config)
    rng, tensors = torch.Generator().manual_seed(0), {}
    for name, shape in shapes_of(checked.family.model(checked.config), Survey(NoTensors(folder), names)).items():
        cut = names.cut_of(name)
        whole = shape if cut is None else cut.whole(shape)
        centre = 1.0 if "norm" in name and len(shape) == 1 else 0.0
        tensors.setdefault(names.renamed(name), centre + 0.15 * torch.randn(whole, generator=rng))
    save_file(tensors, folder / "model.safetensors")
    return folder


def written(folder: Path, to: str = "f32") -> Path:
    wrap(KINDS["byte level"]()).hf.save_pretrained(folder)
    path = folder.with_suffix(".gguf")
    quantize_model(folder, "tiny", to, path, requantize=False, progress=lambda *_: None, say=lambda line: None)
    return path


def logits(path: Path) -> torch.Tensor:
    whole = planned(1, list(PROMPT), 0, len(PROMPT), [Segment(0, tuple(range(len(PROMPT))))])
    return logits_of(open_runner(path, "torch"), whole)


def check_words(path: Path) -> None:
    """Asserts that the `gguf` package has all names of tensors and keys of metadata, for this architecture."""
    reader = gguf.GGUFReader(path)
    arch = str(reader.fields["general.architecture"].contents())
    kind = next(one for one, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    known = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[kind]}
    for tensor in reader.tensors:
        stem, _, leaf = tensor.name.rpartition(".")
        assert re.sub(r"(?<=\.)\d+", "{bid}", stem) in known, tensor.name
        assert leaf in ("weight", "bias")
    groups = [group for group in vars(gguf.Keys).values() if isinstance(group, type)]
    spelled = {value for group in groups for value in vars(group).values() if isinstance(value, str)}
    for key in reader.fields:
        assert key.replace(f"{arch}.", "{arch}.", 1) in spelled or key.startswith("GGUF."), key


@pytest.mark.parametrize("case", [*MADE, *SEEDED])
def test_a_written_file_has_the_logits_of_its_folder(case: str, tmp_path: Path):
    folder = seeded(tmp_path / "m", case) if case in SEEDED else made(tmp_path / "m", case)
    path = written(folder)
    torch.testing.assert_close(logits(path), logits(folder), rtol=1e-4, atol=1e-4)
    check_words(path)


def test_a_written_file_of_baichuan_13b_has_the_logits_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(baichuan, "HIDDEN_OF_13B", 64)
    test_a_written_file_has_the_logits_of_its_folder("BaichuanForCausalLM", tmp_path)


def test_every_family_that_is_read_from_gguf_files_is_written():
    rules = {entry.architecture: entry.family.gguf for entry in FAMILIES.values() if entry.gguf}
    assert [architecture for architecture, one in rules.items() if one is None or one.meta is None] == []


def test_settings_without_words_are_refused_before_a_weight_is_written(tmp_path: Path):
    for case, key, value in (
        ("mistral", "sliding_window", 24), ("qwen 2 moe", "norm_topk_prob", True), ("qwen 3 moe", "norm_topk_prob", False),
        ("olmoe", "clip_qkv", 0.8), ("deepseek 3", "rope_interleave", False), ("starcoder2", "sliding_window", 24),
    ):  # fmt: skip
        folder = family.restyled(made(tmp_path / case, case), **{key: value})
        with pytest.raises(ModelUnsupported, match=f"{key} = .*no words"):
            written(folder)
        assert not folder.with_suffix(".gguf").exists()
