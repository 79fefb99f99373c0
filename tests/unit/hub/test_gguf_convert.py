"""GGUF files become folders: names, shapes, values, configuration, tokenizer; damaged and foreign files are refused."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from workbench.errors import DiskFull, ModelCorrupt, ModelNotFound, ModelUnsupported
from workbench.hub import disk
from workbench.hub.gguf_convert import convert
from workbench.model import gguf_tokenizer
from workbench.model.folder import MARKER, check_folder, is_converted
from workbench.model.gguf_families import llama3_divisors
from workbench.model.gguf_file import GgufFile

Maker = Callable[..., Path]


@pytest.fixture
def converted(make_gguf: Maker, tmp_path: Path) -> Callable[..., Path]:
    def make(**spec: Any) -> Path:
        folder = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        folder.mkdir()
        convert(make_gguf(**spec), folder, lambda what, done, total: None)
        return folder

    return make


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def test_weights_are_dequantised_and_named_as_in_hugging_face(make_gguf: Maker, converted):
    folder = converted()
    weights = load_file(folder / "model.safetensors")
    source = {tensor.name: tensor for tensor in gguf.GGUFReader(make_gguf()).tensors}
    plain = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "model.layers.1.mlp.down_proj.weight": "blk.1.ffn_down.weight",
        "model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight",
        "model.layers.1.post_attention_layernorm.weight": "blk.1.ffn_norm.weight",
    }
    for name, original in plain.items():
        tensor = source[original]
        assert np.array_equal(weights[name], dequantize(tensor.data, tensor.tensor_type)), name
        assert weights[name].dtype == np.float32
    assert len(weights) == len(source)


def test_rows_of_q_and_k_return_to_their_places(make_gguf: Maker, converted):
    """llama.cpp puts row i of a head's first half and row i of its second half side by side."""
    weights = load_file(converted() / "model.safetensors")
    source = {tensor.name: tensor for tensor in gguf.GGUFReader(make_gguf()).tensors}
    for leaf, name, heads in (("attn_q", "q_proj", 4), ("attn_k", "k_proj", 2)):
        stored = dequantize(source[f"blk.0.{leaf}.weight"].data, source[f"blk.0.{leaf}.weight"].tensor_type)
        head_dim = len(stored) // heads
        for row in range(len(stored)):
            head, inside = divmod(row, head_dim)
            half, place = divmod(inside, head_dim // 2)
            expected = stored[head * head_dim + 2 * place + half]
            assert np.array_equal(weights[f"model.layers.0.self_attn.{name}.weight"][row], expected)


def test_norms_of_gemma_lose_the_one_that_was_added(make_gguf: Maker, converted):
    weights = load_file(converted(arch="gemma3") / "model.safetensors")
    source = {tensor.name: tensor for tensor in gguf.GGUFReader(make_gguf(arch="gemma3")).tensors}
    for name, original in (("norm", "output_norm"), ("layers.1.self_attn.q_norm", "blk.1.attn_q_norm")):
        assert np.array_equal(weights[f"model.{name}.weight"], source[f"{original}.weight"].data - np.float32(1))
    assert np.array_equal(
        weights["model.layers.0.self_attn.q_proj.weight"],
        dequantize(source["blk.0.attn_q.weight"].data, source["blk.0.attn_q.weight"].tensor_type),
    )


def test_a_tensor_read_in_pieces_equals_the_tensor_read_at_once(make_gguf: Maker):
    file = GgufFile(make_gguf())
    for name, tensor in file.tensors.items():
        whole = dequantize(tensor.data, tensor.tensor_type)
        for chunk in (1, 100, 1 << 22):
            pieces = list(file.rows(name, chunk))
            assert np.array_equal(np.concatenate(pieces), whole), (name, chunk)
        assert whole.shape == file.shape(name)


@pytest.mark.parametrize("quant", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_every_storage_type_gives_float32(converted, quant: str):
    folder = converted(quant=gguf.GGMLQuantizationType[quant])
    check_folder(folder)
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {np.dtype(np.float32)}


def test_the_llama_configuration_is_that_of_the_metadata(converted):
    config = config_of(converted())
    expected = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 264,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "rope_scaling": None,
        "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 1, "attention_bias": False,
    }  # fmt: skip
    assert {name: config[name] for name in expected} == expected
    assert config[MARKER]["gguf"] == "tiny.gguf"


def test_the_gemma_configuration_has_the_window_pattern_and_both_rotary_bases(converted):
    config = config_of(converted(arch="gemma3", num_layers=7))
    sliding = ["sliding_attention"]
    assert config["layer_types"] == sliding * 5 + ["full_attention"] + sliding
    expected = {
        "model_type": "gemma3_text", "sliding_window": 8, "head_dim": 16, "query_pre_attn_scalar": 16,
        "rope_theta": 10000.0, "rope_local_base_freq": 10000.0, "hidden_activation": "gelu_pytorch_tanh",
    }  # fmt: skip
    assert {name: config[name] for name in expected} == expected


def test_every_token_that_ends_a_turn_ends_a_generation(converted):
    folder = converted(meta={"tokenizer.ggml.eot_token_id": 5})
    assert json.loads((folder / "generation_config.json").read_text()) == {"bos_token_id": 0, "eos_token_id": [1, 5]}


def test_an_untied_output_matrix_is_kept(converted):
    folder = converted(extra={"output.weight": np.ones((264, 64), np.float32)})
    assert config_of(folder)["tie_word_embeddings"] is False
    assert load_file(folder / "model.safetensors")["lm_head.weight"].shape == (264, 64)


def test_linear_rope_scaling_is_kept(converted):
    meta = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    assert config_of(converted(meta=meta))["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}


@pytest.mark.parametrize("meta", [{"llama.rope.scale_linear": 4.0}, {"llama.rope.scaling.factor": 4.0}])
def test_linear_rope_scaling_needs_no_type_and_has_an_older_key(converted, meta: dict[str, Any]):
    """llama.cpp treats scaling without a type as linear, and reads `scale_linear` where there is no newer key."""
    assert config_of(converted(meta=meta))["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}


@pytest.mark.parametrize("meta", [{"llama.rope.scale_linear": 1.0}, {"llama.rope.scaling.type": "none"}, {}])
def test_no_rope_scaling_is_none(converted, meta: dict[str, Any]):
    assert config_of(converted(meta=meta))["rope_scaling"] is None


def test_one_number_for_all_layers_may_be_a_list(converted):
    assert config_of(converted(meta={"llama.attention.head_count_kv": [2, 2]}))["num_key_value_heads"] == 2
    with pytest.raises(ModelUnsupported, match=r"llama\.attention\.head_count_kv = \[2, 4\]: layers that differ in it"):
        converted(meta={"llama.attention.head_count_kv": [2, 4]})


def test_a_window_pattern_may_be_a_list(converted):
    folder = converted(arch="gemma3", meta={"gemma3.attention.sliding_window_pattern": [False, True]})
    assert config_of(folder)["layer_types"] == ["full_attention", "sliding_attention"]


def test_the_size_of_the_weights_is_told_before_they_are_written(make_gguf: Maker, tmp_path: Path):
    (tmp_path / "out").mkdir()
    told: list[int] = []
    convert(make_gguf(), tmp_path / "out", lambda what, done, total: None, lambda size: told.append(size))
    assert told == [sum(tensor.nbytes for tensor in load_file(tmp_path / "out" / "model.safetensors").values())]


def test_llama_3_rope_scaling_is_found_from_its_divisors(converted):
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    divisors = llama3_divisors(scaling, 10_000.0, 8).astype(np.float32)
    assert divisors.min() == 1
    assert divisors.max() == 8
    assert config_of(converted(extra={"rope_freqs.weight": divisors}))["rope_scaling"] == {"rope_type": "llama3", **scaling}
    with pytest.raises(ModelUnsupported, match="not those of Llama 3"):
        converted(extra={"rope_freqs.weight": divisors[::-1].copy()})


def test_the_file_appears_in_full_progress(make_gguf: Maker, tmp_path: Path):
    steps: list[tuple[int, int]] = []
    (tmp_path / "out").mkdir()
    convert(make_gguf(), tmp_path / "out", lambda what, done, total: steps.append((done, total)))
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert steps[-1] == (size, size)


@pytest.mark.parametrize(
    "spec", [{}, {"extra": {"output.weight": np.ones((264, 64), np.float32)}}, {"arch": "gemma3", "num_layers": 7}]
)
def test_transformers_sees_the_same_model_in_the_file_and_in_the_folder(make_gguf: Maker, converted, spec: dict[str, Any]):
    import torch
    from transformers import AutoModelForCausalLM

    path = make_gguf(**spec)
    # transformers assumes 256, the head size of every published Gemma 3 except one.
    options = {"query_pre_attn_scalar": 16} if spec.get("arch") == "gemma3" else {}
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32, **options)
    ours = AutoModelForCausalLM.from_pretrained(converted(**spec), dtype=torch.float32)
    weights = theirs.state_dict()
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    ids = torch.arange(3, 43)[None]
    with torch.inference_mode():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)


@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_transformers_sees_the_same_tokenizer_in_the_file_and_in_the_folder(make_gguf: Maker, converted, arch: str):
    """Tested without digits, since transformers does not support the rule `smollm`."""
    from transformers import AutoTokenizer

    path = make_gguf(arch=arch)
    theirs = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    ours = AutoTokenizer.from_pretrained(converted(arch=arch))
    for text in ("hello world", "the  thing\n\nis   in", "<s>x</s>", "é漢😀", "", " "):
        assert ours(text).input_ids == theirs(text).input_ids
        assert ours.decode(ours(text).input_ids) == theirs.decode(ours(text).input_ids)
    assert (ours.bos_token, ours.eos_token, ours.chat_template) == (theirs.bos_token, theirs.eos_token, theirs.chat_template)


# Refusals.


def test_a_missing_file_is_not_found(tmp_path: Path):
    with pytest.raises(ModelNotFound, match=r"no file .*x\.gguf"):
        GgufFile(tmp_path / "x.gguf")


def test_a_file_that_is_no_gguf_says_what_it_begins_with(tmp_path: Path):
    path = tmp_path / "page.gguf"
    path.write_text("<html>not found</html>")
    with pytest.raises(ModelCorrupt, match=r"22 bytes\) is not a GGUF file: it starts with b'<htm'"):
        GgufFile(path)


@pytest.mark.parametrize("part", [0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_named_with_its_size(make_gguf: Maker, part: float):
    path = make_gguf()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ModelCorrupt, match=re.escape(str(path))) as caught:
        GgufFile(path)
    assert f"{int(len(whole) * part):,} bytes" in caught.value.message


@given(changes=st.dictionaries(st.integers(4, 12_000), st.integers(0, 255), min_size=1, max_size=4))
def test_damage_in_the_head_is_an_error_of_ours_or_harmless(
    tiny_ggufs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, changes: dict[int, int]
):
    data = bytearray(tiny_ggufs["llama"].read_bytes())
    for place, value in changes.items():
        data[place] = value
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "x.gguf").write_bytes(data)
    (folder / "out").mkdir()
    try:
        convert(folder / "x.gguf", folder / "out", lambda what, done, total: None)
    except (ModelCorrupt, ModelUnsupported, DiskFull):
        return
    check_folder(folder / "out")


def test_a_vocabulary_of_absurd_length_is_damage(make_gguf: Maker):
    path = make_gguf()
    data = path.read_bytes()
    key = b"tokenizer.ggml.tokens"
    place = data.index(key) + len(key) + 4 + 4
    path.write_bytes(data[:place] + struct.pack("<Q", 1 << 60) + data[place + 8 :])
    with pytest.raises(ModelCorrupt, match="truncated or damaged"):
        GgufFile(path)


def test_a_foreign_architecture_is_named_with_those_we_have(converted):
    with pytest.raises(ModelUnsupported, match="architecture 'falcon'") as caught:
        converted(arch="falcon")
    assert caught.value.hint == "supported architectures: llama, gemma3"


def test_a_mixture_of_experts_is_refused(converted):
    with pytest.raises(ModelUnsupported, match="mixture of 8 experts"):
        converted(meta={"llama.expert_count": 8})


def test_missing_and_unknown_tensors_are_named(converted):
    with pytest.raises(ModelCorrupt, match=r"lacks 1 of 20 tensors, blk\.1\.ffn_up\.weight first"):
        converted(drop=("blk.1.ffn_up.weight",))
    with pytest.raises(ModelUnsupported, match=r"1 tensors unknown to 'llama', blk\.0\.ssm_a\.weight first"):
        converted(extra={"blk.0.ssm_a.weight": np.zeros(4, np.float32)})


def test_metadata_that_do_not_fit_the_tensors_are_damage(converted):
    with pytest.raises(ModelCorrupt, match=r"blk\.0\.attn_k\.weight has the shape \(32, 64\), its metadata imply \(64, 64\)"):
        converted(num_kv_heads=4)


@pytest.mark.parametrize(
    "spec, error",
    [
        ({"pre": "martian"}, "by the rule 'martian'"),
        ({"tokenizer": "bert"}, "tokenizer of kind 'bert'"),
        ({"meta": {"llama.rope.scaling.type": "yarn"}}, "rotary embedding by 'yarn'"),
        ({"meta": {"llama.attention.sliding_window": 64}}, r"llama\.attention\.sliding_window = 64, which is not computed"),
        ({"meta": {"llama.attention.causal": False}}, r"llama\.attention\.causal = False"),
        ({"meta": {"llama.attention.causal": True, "llama.logit_scale": 0.5}}, r"llama\.logit_scale = 0\.5"),
        ({"meta": {"llama.rope.dimension_count": 8, "llama.attention.key_length": 16}}, "= 8 for heads of 16"),
        ({"meta": {"llama.attention.value_length": 8}}, "value_length = 8 for heads of 16"),
        ({"arch": "gemma3", "meta": {"gemma3.attn_logit_softcapping": 50.0}}, "attn_logit_softcapping"),
        ({"meta": {"general.type": "adapter"}}, "holds no model, its general.type is 'adapter'"),
        ({"meta": {"split.count": 3}}, "one of 3 parts"),
        (
            {"meta": {"llama.rope.scale_linear": 4.0}, "extra": {"rope_freqs.weight": np.ones(8, np.float32)}},
            "divisors of Llama 3",
        ),
    ],
)
def test_what_would_change_the_text_or_the_numbers_is_refused(converted, spec: dict[str, Any], error: str):
    with pytest.raises(ModelUnsupported, match=error):
        converted(**spec)


def test_a_disk_without_room_for_the_weights_is_an_error_before_writing(converted, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 1000)
    with pytest.raises(DiskFull, match=r"converting tiny\.gguf needs"):
        converted()


# The tokenizer.


def test_digits_are_cut_singly_as_smollm_wants(converted):
    """`12` is a merge of this vocabulary; cut before merging, it never happens."""
    tokenizer = Tokenizer.from_file(str(converted() / "tokenizer.json"))
    assert tokenizer.encode("hello 12").tokens == ["hello", "Ġ", "1", "2"]


@given(text=st.text(max_size=40))
def test_byte_level_text_comes_back_as_it_went_in(backends: dict[str, Tokenizer], text: str):
    ids = backends["llama"].encode(text, add_special_tokens=False).ids
    assert backends["llama"].decode(ids, skip_special_tokens=False) == text


@given(text=st.text(max_size=40).filter(lambda text: gguf_tokenizer.SPACE not in text))
def test_sentencepiece_text_comes_back_as_it_went_in(backends: dict[str, Tokenizer], text: str):
    ids = backends["gemma3"].encode(text, add_special_tokens=False).ids
    assert backends["gemma3"].decode(ids, skip_special_tokens=False) == text


@pytest.fixture(scope="module")
def backends(tiny_ggufs: dict[str, Path]) -> dict[str, Tokenizer]:
    return {arch: gguf_tokenizer.build_tokenizer(GgufFile(path)) for arch, path in tiny_ggufs.items()}


def test_special_tokens_are_whole_hidden_and_placed(converted):
    folder = converted(arch="gemma3")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("the\n\n").tokens == ["<bos>", "t", "he", "\n\n"]
    assert tokenizer.encode("the", add_special_tokens=False).tokens == ["t", "he"]
    assert tokenizer.encode("x", "y").tokens.count("<bos>") == 2
    assert tokenizer.encode("a<eos>b", add_special_tokens=False).tokens[1] == "<eos>"
    assert tokenizer.decode(tokenizer.encode("the thing").ids) == "the thing"
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert (config["bos_token"], config["eos_token"], config["unk_token"], config["pad_token"]) == (
        "<bos>",
        "<eos>",
        "<unk>",
        "<pad>",
    )
    assert config["add_bos_token"] is True
    assert "chat_template" not in config


def test_bos_and_eos_stand_where_the_file_wants_them(converted):
    meta = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}
    tokenizer = Tokenizer.from_file(str(converted(meta=meta) / "tokenizer.json"))
    assert tokenizer.encode("hello").tokens == ["<s>", "hello", "</s>"]
    assert tokenizer.encode("hello", "h").tokens == ["<s>", "hello", "</s>", "<s>", "h", "</s>"]


def test_the_chat_template_travels(converted):
    config = json.loads((converted() / "tokenizer_config.json").read_text())
    assert config["chat_template"].startswith("{% for m in messages %}")
    assert config["add_bos_token"] is False


def test_implied_merges_are_every_way_to_make_a_piece():
    tokens = ["a", "b", "c", "ab", "bc", "abc", "xa"]
    merges = gguf_tokenizer.implied_merges(tokens, range(len(tokens)))
    assert merges == [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]


def test_a_folder_is_not_taken_for_converted_without_its_marker(converted):
    folder = converted()
    assert is_converted(folder)
    config = config_of(folder)
    del config[MARKER]
    (folder / "config.json").write_text(json.dumps(config))
    assert not is_converted(folder)
