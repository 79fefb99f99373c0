"""A GGUF file is a model: its configuration, names and values are those that transformers reads from the same file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize
from tiny_models import logits_of, planned, runner_of

from workbench.bench.hf_folder import tensors_of, write_hf_folder
from workbench.checkpoint.weights import WeightForm
from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.kernels.products import FORMATS
from workbench.model.check import check_model, end_ids, read_values
from workbench.model.gguf import llama3_divisors
from workbench.model.load import load_model
from workbench.types import Segment

Maker = Callable[..., Path]


def stored(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors}


def test_weights_are_dequantised_and_named_as_in_hugging_face(make_gguf: Maker):
    path = make_gguf()
    weights, source = tensors_of(path), stored(path)
    plain = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "model.layers.1.mlp.down_proj.weight": "blk.1.ffn_down.weight",
        "model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight",
        "model.layers.1.post_attention_layernorm.weight": "blk.1.ffn_norm.weight",
    }
    for name, original in plain.items():
        assert np.array_equal(weights[name].numpy(), source[original]), name
    assert len(weights) == len(source)


def test_rows_of_q_and_k_return_to_their_places(make_gguf: Maker):
    """llama.cpp puts row i of a head's first half and row i of its second half side by side."""
    path = make_gguf()
    weights, source = tensors_of(path), stored(path)
    for leaf, name, heads in (("attn_q", "q_proj", 4), ("attn_k", "k_proj", 2)):
        rows = source[f"blk.0.{leaf}.weight"]
        head_dim = len(rows) // heads
        for row in range(len(rows)):
            head, inside = divmod(row, head_dim)
            half, place = divmod(inside, head_dim // 2)
            expected = rows[head * head_dim + 2 * place + half]
            assert np.array_equal(weights[f"model.layers.0.self_attn.{name}.weight"][row].numpy(), expected)


def test_norms_of_gemma_lose_the_one_that_was_added(make_gguf: Maker):
    path = make_gguf(arch="gemma3")
    weights, source = tensors_of(path), stored(path)
    for name, original in (("norm", "output_norm"), ("layers.1.self_attn.q_norm", "blk.1.attn_q_norm")):
        assert np.array_equal(weights[f"model.{name}.weight"].numpy(), source[f"{original}.weight"] - np.float32(1))
    assert np.array_equal(weights["model.layers.0.self_attn.q_proj.weight"].numpy(), source["blk.0.attn_q.weight"])


@pytest.mark.parametrize(
    "spec", [{}, {"extra": {"output.weight": np.ones((264, 64), np.float32)}}, {"arch": "gemma3", "num_layers": 7}]
)
def test_transformers_reads_the_same_model_from_the_file(make_gguf: Maker, tmp_path: Path, spec: dict[str, Any]):
    from transformers import AutoModelForCausalLM

    path = make_gguf(**spec)
    # transformers assumes 256, the head size of every published Gemma 3 except one.
    options = {"query_pre_attn_scalar": 16} if spec.get("arch") == "gemma3" else {}
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32, **options).eval()
    weights = theirs.state_dict()
    for name, weight in tensors_of(path).items():
        assert torch.equal(weight, weights[name]), name
    tokens = list(range(3, 43))
    with torch.inference_mode():
        expected = theirs(torch.tensor([tokens])).logits[0]
    runner = runner_of(load_model(path, dtype=torch.float32, device=torch.device("cpu")), "torch")
    got = logits_of(runner, planned(1, tokens, 0, 40, [Segment(0, tuple(range(40)))]))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    again = AutoModelForCausalLM.from_pretrained(write_hf_folder(path, tmp_path / "folder"), dtype=torch.float32).eval()
    with torch.inference_mode():
        assert torch.equal(again(torch.tensor([tokens])).logits[0], expected)


def test_the_llama_configuration_is_that_of_the_metadata(make_gguf: Maker):
    expected = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 264,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "rope_scaling": None,
        "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 1, "attention_bias": False,
    }  # fmt: skip
    values = read_values(make_gguf())
    assert {name: values[name] for name in expected} == expected


def test_the_gemma_configuration_has_the_window_pattern_and_both_rotary_bases(make_gguf: Maker):
    values = read_values(make_gguf(arch="gemma3", num_layers=7))
    sliding = ["sliding_attention"]
    assert values["layer_types"] == sliding * 5 + ["full_attention"] + sliding
    expected = {
        "sliding_window": 8, "head_dim": 16, "query_pre_attn_scalar": 16, "rope_theta": 10000.0,
        "rope_local_base_freq": 10000.0, "hidden_activation": "gelu_pytorch_tanh",
    }  # fmt: skip
    config = check_model(make_gguf(arch="gemma3", num_layers=7)).config
    assert {name: getattr(config, name) for name in expected} == expected


def test_every_token_that_ends_a_turn_ends_a_generation(make_gguf: Maker):
    assert end_ids(make_gguf(meta={"tokenizer.ggml.eot_token_id": 5})) == {1, 5}


def test_an_untied_output_matrix_is_the_head(make_gguf: Maker):
    path = make_gguf(extra={"output.weight": np.ones((264, 64), np.float32)})
    assert read_values(path)["tie_word_embeddings"] is False
    model = load_model(path, dtype=torch.float32, device=torch.device("cpu"))
    torch.testing.assert_close(model.logits(torch.ones(1, 64)), torch.full((1, 264), 64.0))


@pytest.mark.parametrize(
    "meta",
    [
        {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
        {"llama.rope.scale_linear": 4.0},
        {"llama.rope.scaling.factor": 4.0},
    ],
)
def test_linear_rope_scaling_needs_no_type_and_has_an_older_key(make_gguf: Maker, meta: dict[str, Any]):
    """llama.cpp treats scaling without a type as linear, and reads `scale_linear` where there is no newer key."""
    assert read_values(make_gguf(meta=meta))["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}


@pytest.mark.parametrize("meta", [{"llama.rope.scale_linear": 1.0}, {"llama.rope.scaling.type": "none"}, {}])
def test_no_rope_scaling_is_none(make_gguf: Maker, meta: dict[str, Any]):
    assert read_values(make_gguf(meta=meta))["rope_scaling"] is None


def test_a_count_may_be_a_list_and_a_window_pattern_too(make_gguf: Maker):
    assert read_values(make_gguf(meta={"llama.attention.head_count_kv": [2, 2]}))["num_key_value_heads"] == 2
    path = make_gguf(arch="gemma3", meta={"gemma3.attention.sliding_window_pattern": [False, True]})
    assert read_values(path)["layer_types"] == ["full_attention", "sliding_attention"]


def test_llama_3_rope_scaling_is_found_from_its_divisors(make_gguf: Maker):
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    divisors = np.array(llama3_divisors(scaling, 10_000.0, 8), np.float32)
    assert (divisors.min(), divisors.max()) == (1, 8)
    path = make_gguf(extra={"rope_freqs.weight": divisors})
    assert read_values(path)["rope_scaling"] == {"rope_type": "llama3", **scaling}
    load_model(path, dtype=torch.float32, device=torch.device("cpu"))
    with pytest.raises(ModelUnsupported, match="not those of Llama 3"):
        read_values(make_gguf(extra={"rope_freqs.weight": divisors[::-1].copy()}))


# Refusals.


def load(path: Path) -> None:
    load_model(path, dtype=torch.float32, device=torch.device("cpu"))


def test_a_foreign_architecture_is_named_with_those_we_have(make_gguf: Maker):
    with pytest.raises(ModelUnsupported, match="architecture 'falcon'") as caught:
        read_values(make_gguf(arch="falcon"))
    assert (caught.value.hint or "").startswith("supported architectures: llama, gemma3, ")


def test_missing_and_unknown_tensors_are_named(make_gguf: Maker):
    with pytest.raises(ModelCorrupt, match=r"lacks the tensor blk\.1\.ffn_up\.weight"):
        load(make_gguf(drop=("blk.1.ffn_up.weight",)))
    with pytest.raises(ModelUnsupported, match=r"has the tensor blk\.0\.ssm_a\.weight, which Llama does not read"):
        load(make_gguf(extra={"blk.0.ssm_a.weight": np.zeros(4, np.float32)}))


def test_metadata_that_do_not_fit_the_tensors_are_damage(make_gguf: Maker):
    with pytest.raises(ModelCorrupt, match=r"has blk\.0\.attn_k\.weight \[32, 64\], its configuration wants \[64, 64\] for"):
        load(make_gguf(num_kv_heads=4))


def test_a_type_that_nothing_dequantises_is_named(make_gguf: Maker):
    whole_numbers = {"blk.1.ffn_norm.weight": np.ones(64, np.int32)}
    with pytest.raises(ModelUnsupported, match=r"blk\.1\.ffn_norm\.weight is stored as I32"):
        load(make_gguf(drop=tuple(whole_numbers), extra=whole_numbers))


@pytest.mark.parametrize(
    "spec, error",
    [
        ({"arch": "gemma3", "meta": {"gemma3.expert_count": 8}}, r"gemma3\.expert_count = 8, which is not computed"),
        ({"meta": {"llama.rope.scaling.type": "longrope"}}, "rotary embedding by 'longrope'"),
        ({"meta": {"llama.attention.sliding_window": 64}}, r"llama\.attention\.sliding_window = 64, which is not computed"),
        ({"meta": {"llama.residual_scale": 0.5}}, r"llama\.residual_scale = 0\.5"),
        ({"meta": {"llama.attention.causal": True, "llama.logit_scale": 0.5}}, r"llama\.logit_scale = 0\.5"),
        ({"meta": {"llama.rope.dimension_count": 8, "llama.attention.key_length": 16}}, "= 8 for heads of 16"),
        ({"meta": {"llama.attention.value_length": 8}}, "value_length = 8 for heads of 16"),
        ({"arch": "gemma3", "meta": {"gemma3.attn_logit_softcapping": 50.0}}, "attn_logit_softcapping"),
        ({"meta": {"general.type": "adapter"}}, "holds no model, its general.type is 'adapter'"),
        ({"meta": {"general.type": "mmproj"}}, r"is the tower of a model that sees \(mmproj\).*\n.*folders of safetensors"),
        ({"meta": {"general.architecture": "clip"}}, r"is the tower of a model that sees \(mmproj\)"),
        (
            {"meta": {"general.architecture": "qwen2vl"}},
            r"has the architecture 'qwen2vl'\nQwen2-VL runs from a folder of safetensors",
        ),
        ({"meta": {"general.type": "imatrix"}}, "holds no model, its general.type is 'imatrix'"),
        ({"meta": {"split.count": 3}}, r"is part 1 of 3\ncall the parts NAME-00001-of-00003\.gguf"),
        (
            {"meta": {"llama.rope.scale_linear": 4.0}, "extra": {"rope_freqs.weight": np.ones(8, np.float32)}},
            "divisors of Llama 3",
        ),
    ],
)
def test_what_would_change_the_numbers_is_refused(make_gguf: Maker, spec: dict[str, Any], error: str):
    with pytest.raises(ModelUnsupported, match=error):
        check_model(make_gguf(**spec))


@pytest.mark.parametrize("quant", ["F32", "F16", "BF16"])
def test_plain_numbers_are_multiplied_where_they_lie_in_the_file(make_gguf: Maker, quant: str):
    path = make_gguf(quant=gguf.GGMLQuantizationType[quant])
    kept, dense = (
        load_model(path, dtype=torch.float32, device=torch.device("cpu"), form=WeightForm(keeps)) for keeps in (FORMATS, ())
    )
    assert (kept.quantization, dense.quantization) == ("gguf", "dequant")
    numbers = sum(tensor.n_elements for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) > 1)
    assert kept.weights_bytes() - dense.weights_bytes() == numbers * (GGML_QUANT_SIZES[gguf.GGMLQuantizationType[quant]][1] - 4)
    x = torch.randn(3, dense.hidden_size)
    for one, other in zip(kept.layers, dense.layers, strict=True):
        torch.testing.assert_close(one.self_attn.qkv(x), other.self_attn.qkv(x))
        torch.testing.assert_close(one.mlp(x, one.post_attention_layernorm), other.mlp(x, other.post_attention_layernorm))
