"""Dense decoders for which transformers has no class: the oracle is one of equal arithmetic, its tensors renamed by the test.

| family | oracle | what the test does to it |
|---|---|---|
| ChatGLM | GLM | other names, fused queries, keys and values |
| InternLM 2 | Llama | other names, queries, keys and values fused by group of heads |
| Exaone 3, XVERSE | Llama | other names |
| Baichuan | Llama | fused queries, keys and values; the head of the second has rows of length 1 |
| MiniCPM | Granite | the same factors in other words |
| Qwen 1 | Qwen 2 | other names, fused queries, keys and values |
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import family
import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

import workbench
from workbench.errors import ModelUnsupported
from workbench.model.load import load_model
from workbench.model.tiny import write_config

ROPE = {"rope_type": "default", "rope_theta": 500.0}
LAYERS = range(family.SIZES["num_hidden_layers"])
SIZES = {"hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 512}
Tensors = dict[str, Tensor]


def renamed(tensors: Tensors, *rules: tuple[str, str]) -> Tensors:
    """Returns the tensors by other names: every rule, a pattern and its replacement, is applied in turn."""
    found = {}
    for name, tensor in tensors.items():
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        found[new] = tensor
    return found


def fused(tensors: Tensors, parts: Iterable[str], name: str, leaves: Iterable[str] = ("weight",)) -> None:
    """Changes: in each layer, tensors become one after the other in one."""
    for layer in LAYERS:
        for leaf in leaves:
            pieces = [tensors.pop(f"model.layers.{layer}.{part}.{leaf}") for part in parts]
            tensors[f"model.layers.{layer}.{name}.{leaf}"] = torch.cat(pieces)


QKV = [f"self_attn.{part}_proj" for part in "qkv"]
BOTH = ("weight", "bias")


def written(folder: Path, tensors: Tensors, architecture: str, model_type: str, **config: Any) -> Path:
    """Writes a folder as authors without a class in transformers publish it."""
    ids = {"bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32", "auto_map": {"AutoModel": "modeling.Model"}}
    write_config(folder, {"architectures": [architecture], "model_type": model_type, **ids, **config})
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def test_chatglm(tmp_path: Path):
    rope = ROPE | {"rope_theta": 20_000.0, "partial_rotary_factor": 0.5}
    reference = family.made("glm", head_dim=24, attention_bias=True, rope_parameters=rope, rms_norm_eps=1e-5)
    tensors = reference.state_dict()
    fused(tensors, QKV, "self_attention.query_key_value", BOTH)
    tensors = renamed(
        tensors, (r"self_attn\.o_proj", "self_attention.dense"), (r"mlp\.gate_up_proj", "mlp.dense_h_to_4h"),
        (r"mlp\.down_proj", "mlp.dense_4h_to_h"), (r"^model\.layers", "transformer.encoder.layers"),
        (r"^model\.norm", "transformer.encoder.final_layernorm"), (r"^lm_head", "transformer.output_layer"),
        (r"^model\.embed_tokens", "transformer.embedding.word_embeddings"),
    )  # fmt: skip
    tensors["transformer.rotary_pos_emb.inv_freq"] = torch.ones(6)
    folder = written(
        tmp_path, tensors, "ChatGLMModel", "chatglm", hidden_size=64, num_layers=3, num_attention_heads=4, kv_channels=24,
        multi_query_attention=True, multi_query_group_num=2, ffn_hidden_size=96, padded_vocab_size=family.VOCAB,
        vocab_size=family.VOCAB, seq_length=512, layernorm_epsilon=1e-5, add_qkv_bias=True, add_bias_linear=False, rmsnorm=True,
        post_layer_norm=True, rope_ratio=2, original_rope=True, tie_word_embeddings=False, attention_softmax_in_fp32=True,
    )  # fmt: skip
    family.hold(folder, reference)
    family.matters(reference, rope_parameters=rope | {"rope_theta": 100.0})


def as_internlm2(tensors: Tensors) -> Tensors:
    """Returns Llama's tensors as InternLM 2 has them."""
    for layer in LAYERS:
        q, k, v = (tensors.pop(f"model.layers.{layer}.{part}.weight").unflatten(0, (2, -1)) for part in QKV)  # [groups, rows, H]
        tensors[f"model.layers.{layer}.attention.wqkv.weight"] = torch.cat((q, k, v), 1).flatten(0, 1)
    return renamed(
        tensors, (r"self_attn\.o_proj", "attention.wo"), (r"mlp\.gate_proj", "feed_forward.w1"),
        (r"mlp\.up_proj", "feed_forward.w3"),
        (r"mlp\.down_proj", "feed_forward.w2"), ("input_layernorm", "attention_norm"), ("post_attention_layernorm", "ffn_norm"),
        ("embed_tokens", "tok_embeddings"), ("lm_head", "output"),
    )  # fmt: skip


def test_internlm2(tmp_path: Path):
    reference = family.made("llama", rope_parameters=ROPE)
    tensors = as_internlm2(reference.state_dict())
    folder = written(
        tmp_path, tensors, "InternLM2ForCausalLM", "internlm2", bias=False, rope_theta=500.0, num_key_value_heads=2,
        rope_scaling={"type": "dynamic", "factor": 2.0}, num_hidden_layers=3, vocab_size=family.VOCAB, intermediate_size=96,
        rms_norm_eps=1e-6, hidden_act="silu", pretraining_tp=1, attn_implementation="eager", **SIZES,
    )  # fmt: skip
    family.hold(folder, reference)


@torch.inference_mode()
def test_the_reward_form_of_internlm2(tmp_path: Path):
    """Its oracle is Llama's classifier."""
    config = transformers.LlamaConfig(**family.SIZES, rope_parameters=ROPE, num_labels=1)
    config.pad_token_id = 0
    reference = family.seeded(transformers.LlamaForSequenceClassification(config))
    tensors = renamed(as_internlm2(reference.state_dict()), ("^score", "v_head"))
    folder = written(
        tmp_path, tensors, "InternLM2ForRewardModel", "internlm2", bias=False, rope_theta=500.0, num_key_value_heads=2,
        num_hidden_layers=3, vocab_size=family.VOCAB, intermediate_size=96, rms_norm_eps=1e-6, hidden_act="silu", **SIZES,
    )  # fmt: skip
    prompts = [list(prompt) for prompt in family.PROMPTS]
    settings = {"is_embedding": True, "dtype": "float32", "skip_tokenizer_init": True, "max_total_tokens": 1024}
    with workbench.Engine(str(folder), **settings) as engine:
        scores = [result["embedding"][0] for result in engine.encode(input_ids=prompts)]
    expected = [float(reference(torch.tensor([prompt])).logits[0]) for prompt in prompts]
    assert scores == pytest.approx(expected, abs=1e-4)


def test_exaone(tmp_path: Path):
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32}  # fmt: skip
    reference = family.made("llama", rope_parameters=rope | {"rope_theta": 500.0}, rms_norm_eps=1e-5)
    tensors = renamed(
        reference.state_dict(), (r"self_attn\.o_proj", "attn.attention.out_proj"), ("self_attn", "attn.attention"),
        (r"mlp\.gate_proj", "mlp.c_fc_0"), (r"mlp\.up_proj", "mlp.c_fc_1"), (r"mlp\.down_proj", "mlp.c_proj"),
        ("input_layernorm", "ln_1"), ("post_attention_layernorm", "ln_2"), (r"^model\.layers", "transformer.h"),
        (r"^model\.norm", "transformer.ln_f"), (r"^model\.embed_tokens", "transformer.wte"),
    )  # fmt: skip
    folder = written(
        tmp_path, tensors, "ExaoneForCausalLM", "exaone", num_layers=3, num_key_value_heads=2, vocab_size=family.VOCAB,
        intermediate_size=96, layer_norm_epsilon=1e-5, activation_function="silu", embed_dropout=0.0, rope_theta=500.0,
        rope_scaling=rope, head_dim=16, tie_word_embeddings=False, **SIZES,
    )  # fmt: skip
    family.hold(folder, reference)
    family.matters(reference, rope_parameters=ROPE)


@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
def test_internlm3(tmp_path: Path, model_type: str):
    """With biases of queries, keys and values it is Qwen 2."""
    reference = family.made(model_type, rope_parameters=ROPE | {"rope_theta": 10_000.0})
    folder = written(
        tmp_path, reference.state_dict(), "InternLM3ForCausalLM", "internlm3", num_hidden_layers=3, vocab_size=family.VOCAB,
        intermediate_size=96, rms_norm_eps=1e-6, hidden_act="silu", bias=False, qkv_bias=model_type == "qwen2", head_dim=16,
        num_key_value_heads=2, rope_scaling={"factor": 6.0, "rope_type": "dynamic"}, **SIZES,
    )  # fmt: skip
    family.hold(folder, reference)


def test_xverse(tmp_path: Path):
    reference = family.made("llama", rope_parameters=ROPE | {"rope_theta": 10_000.0}, num_key_value_heads=4)
    tensors = reference.state_dict() | {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(8) for layer in LAYERS}
    folder = written(
        tmp_path, tensors, "XverseForCausalLM", "xverse", num_hidden_layers=3, vocab_size=family.VOCAB, intermediate_size=96,
        rms_norm_eps=1e-6, hidden_act="silu", _from_model_config=True, max_tokenizer_truncation=8192, **SIZES,
    )  # fmt: skip
    family.hold(folder, reference)


def test_baichuan(tmp_path: Path):
    reference = family.made("llama", rope_parameters=ROPE | {"rope_theta": 10_000.0}, num_key_value_heads=4)
    tensors = reference.state_dict()
    fused(tensors, QKV, "self_attn.W_pack")
    values = {"num_hidden_layers": 3, "vocab_size": family.VOCAB, "intermediate_size": 96, "rms_norm_eps": 1e-6,
              "hidden_act": "silu", "_from_model_config": True, "hidden_size": 64, "num_attention_heads": 4}  # fmt: skip
    first = written(tmp_path / "1", tensors, "BaiChuanForCausalLM", "baichuan", max_position_embeddings=512, **values)
    family.hold(first, reference)
    second = written(tmp_path / "2", tensors, "BaichuanForCausalLM", "baichuan", model_max_length=512, z_loss_weight=0, **values)
    before = family.logits(reference, family.PROMPTS[3])
    with torch.no_grad():
        head = reference.lm_head.weight
        head /= head.norm(dim=1, keepdim=True)
    assert (family.logits(reference, family.PROMPTS[3]) - before).abs().max() > 1e-2
    family.hold(second, reference)


def test_minicpm(tmp_path: Path):
    factors = {"embedding_multiplier": 6.0, "residual_multiplier": 1.4 / 3**0.5, "logits_scaling": 4.0}
    usual = {"attention_multiplier": 16**-0.5, "rope_parameters": ROPE | {"rope_theta": 10_000.0}, "tie_word_embeddings": True}
    reference = family.made("granite", **usual, **factors)
    tensors = {name: tensor for name, tensor in reference.state_dict().items() if name != "lm_head.weight"}
    folder = written(
        tmp_path, tensors, "MiniCPMForCausalLM", "minicpm", num_hidden_layers=3, vocab_size=family.VOCAB, intermediate_size=96,
        rms_norm_eps=1e-6, hidden_act="silu", num_key_value_heads=2, scale_emb=6, scale_depth=1.4, dim_model_base=16, **SIZES,
    )  # fmt: skip
    family.hold(folder, reference)
    for name in factors:
        family.matters(reference, **{name: 1.0})


def test_qwen(tmp_path: Path):
    reference = family.made("qwen2", rope_parameters=ROPE, num_key_value_heads=4)
    tensors = reference.state_dict()
    fused(tensors, QKV, "attn.c_attn", BOTH)
    tensors = renamed(
        tensors, (r"self_attn\.o_proj", "attn.c_proj"), (r"mlp\.up_proj", "mlp.w1"), (r"mlp\.gate_proj", "mlp.w2"),
        (r"mlp\.down_proj", "mlp.c_proj"), ("input_layernorm", "ln_1"), ("post_attention_layernorm", "ln_2"),
        (r"^model\.layers", "transformer.h"), (r"^model\.norm", "transformer.ln_f"), (r"^model\.embed_tokens", "transformer.wte"),
    )  # fmt: skip
    folder = written(
        tmp_path, tensors, "QWenLMHeadModel", "qwen", num_hidden_layers=3, vocab_size=family.VOCAB, intermediate_size=192,
        layer_norm_epsilon=1e-6, rotary_emb_base=500.0, rotary_pct=1.0, kv_channels=16, seq_length=512, no_bias=True, bf16=False,
        use_flash_attn="auto", use_dynamic_ntk=True, use_logn_attn=True, emb_dropout_prob=0.0, onnx_safe=None,
        tie_word_embeddings=False, **SIZES,
    )  # fmt: skip
    family.hold(folder, reference)
    with pytest.raises(ModelUnsupported, match="600 positions are more than the 512 up to which Qwen 1 is computed here"):
        load_model(folder, dtype=torch.float32, device=torch.device("cpu"), num_positions=600)
