"""GGUF files of encoders have the vectors of the models they were made of; Nomic BERT's folders have those of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from gguf_writer import write
from safetensors.torch import load_file, save_file
from test_families_pooled import PROMPTS, hidden, made, opened, unit, vectors
from test_written_ggufs import check_words
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from workbench import Engine
from workbench.errors import ModelUnsupported
from workbench.hub.find import resolve
from workbench.quantize.run import quantize_model
from workbench.text.tokenizer import load_tokenizer

Tensors = dict[str, torch.Tensor]
POOLS = {1: lambda rows: rows.mean(0), 2: lambda rows: rows[0], 3: lambda rows: rows[-1]}
NOMIC = {"hidden_act": "silu", "num_key_value_heads": 4, "rope_parameters": {"rope_type": "default", "rope_theta": 700.0}}
WORDS = ("the", "cat", "sat", "on", "mat", "na", "paris", "france")


def meta_of(config: Any, **more: Any) -> dict[str, Any]:
    return {
        "context_length": config.max_position_embeddings, "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers, "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads, "attention.layer_norm_epsilon": config.layer_norm_eps,
        "attention.causal": False, **more,
    }  # fmt: skip


def bert(**values: Any) -> Any:
    return made("BertModel", "bert", **values)


def nomic() -> Any:
    return made("NomicBertModel", "nomic_bert", **NOMIC)


@pytest.mark.parametrize("pooling", POOLS)
def test_a_gguf_file_of_bert_has_the_pooled_rows_of_the_model_at_length_1(tmp_path: Path, pooling: int):
    reference = bert()
    tensors = {name: tensor for name, tensor in reference.state_dict().items() if "pooler" not in name}
    path = write(tmp_path / "m.gguf", "bert", meta_of(reference.config, pooling_type=pooling), tensors)
    with opened(path) as engine:
        wanted = [unit(POOLS[pooling](hidden(reference, prompt))) for prompt in PROMPTS]
        assert np.abs(vectors(engine) - wanted).max() < 1e-4


def test_a_pooling_that_is_not_computed_is_refused(tmp_path: Path):
    reference = bert()
    tensors = {name: tensor for name, tensor in reference.state_dict().items() if "pooler" not in name}
    path = write(tmp_path / "m.gguf", "bert", meta_of(reference.config, pooling_type=4), tensors)
    with pytest.raises(ModelUnsupported, match=r"pooling_type 4 \(rank"):
        opened(path)


def published(reference: Any) -> Tensors:
    """Returns Nomic BERT's tensors as its authors name them."""
    tensors = reference.state_dict()
    words = {
        "self_attn.o_proj": "attn.out_proj", "post_attention_layernorm": "norm1", "post_mlp_layernorm": "norm2",
        "mlp.gate_proj": "mlp.fc12", "mlp.up_proj": "mlp.fc11", "mlp.down_proj": "mlp.fc2",
    }  # fmt: skip
    found: Tensors = {}
    for layer in range(reference.config.num_hidden_layers):
        parts = [tensors.pop(f"layers.{layer}.self_attn.{part}_proj.weight") for part in "qkv"]
        found[f"encoder.layers.{layer}.attn.Wqkv.weight"] = torch.cat(parts)
    for name, tensor in tensors.items():
        for theirs, own in words.items():
            name = name.replace(theirs, own)
        name = f"encoder.{name}" if name.startswith("layers.") else name
        found[name.replace("embeddings.LayerNorm", "emb_ln")] = tensor
    return found


@pytest.mark.parametrize("style", ["transformers", "published", "gguf"])
def test_nomic_bert(tmp_path: Path, style: str):
    reference = nomic()
    config, path = reference.config, tmp_path
    if style == "gguf":
        tensors = {name.replace("emb_ln", "embeddings.LayerNorm"): tensor for name, tensor in published(reference).items()}
        meta = meta_of(config, pooling_type=1, **{"rope.freq_base": 700.0})
        path = write(tmp_path / "m.gguf", "nomic-bert", meta, tensors)
    else:
        reference.save_pretrained(tmp_path)
    if style == "published":
        save_file({name: x.contiguous() for name, x in published(reference).items()}, tmp_path / "model.safetensors")
        values = {
            "architectures": ["NomicBertModel"], "model_type": "nomic_bert", "n_embd": 64, "n_layer": 3, "n_head": 4,
            "n_inner": 96, "n_positions": 512, "vocab_size": config.vocab_size, "layer_norm_epsilon": 1e-12,
            "activation_function": "swiglu", "rotary_emb_base": 700, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False,
            "qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "prenorm": False, "causal": False,
            "type_vocab_size": 2, "use_flash_attn": True, "use_rms_norm": False, "rotary_scaling_factor": None,
        }  # fmt: skip
        (tmp_path / "config.json").write_text(json.dumps(values))
    with opened(path) as engine:
        wanted = [hidden(reference, prompt).mean(0) for prompt in PROMPTS]
        wanted = [unit(one) for one in wanted] if style == "gguf" else wanted
        assert np.abs(vectors(engine) - wanted).max() < 1e-4


def word_pieces(folder: Path, lowercase: bool) -> None:
    """Writes a tokenizer of BERT's kind."""
    letters = "abcdefghijklmnopqrstuvwxyz.,!?'日" + ("" if lowercase else "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, "[unused0]", *letters, *(f"##{letter}" for letter in letters), *WORDS, "##ïve", "##ing"]
    backend = tokenizers.Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    roles = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **roles).save_pretrained(folder)


def sentence_transformers(folder: Path) -> None:
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2": "Normalize"}
    modules = [{"path": path, "type": f"x.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 64, "pooling_mode_cls_token": True}))


TEXTS = ["The cat SAT on the mat.", "naïve café", "paris", "日本 [MASK] zzzing", "France! " * 20]


@pytest.mark.parametrize(("kind", "lowercase"), [("bert", True), ("bert", False), ("nomic", True)])
def test_a_file_that_is_written_here_has_the_texts_and_vectors_of_its_folder(tmp_path: Path, kind: str, lowercase: bool):
    folder, path, lines = tmp_path / "m", tmp_path / "m.gguf", list[str]()
    (bert() if kind == "bert" else nomic()).save_pretrained(folder)
    word_pieces(folder, lowercase)
    sentence_transformers(folder)
    quantize_model(folder, "tiny", "f32", path, requantize=False, progress=lambda *_: None, say=lines.append)
    assert not lines
    check_words(path)
    ours, theirs = load_tokenizer(path), load_tokenizer(folder)
    assert [ours.encode(text) for text in TEXTS] == [theirs.encode(text) for text in TEXTS]
    assert [ours.decode(ours.encode(text)) for text in TEXTS] == [theirs.decode(theirs.encode(text)) for text in TEXTS]
    settings: dict[str, Any] = {"is_embedding": True, "dtype": "float32", "max_total_tokens": 1024}
    found = []
    for where in (path, folder):
        with Engine(str(where), **settings) as engine:
            found.append(np.array([one["embedding"] for one in engine.encode(TEXTS)]))
    assert np.abs(found[0] - found[1]).max() < 1e-5
    (folder / "modules.json").unlink()
    quantize_model(folder, "tiny", "q8_0", tmp_path / "8.gguf", requantize=False, progress=lambda *_: None, say=lines.append)
    assert any("get the length 1" in line for line in lines)


@pytest.mark.model
def test_minilm_written_with_8_bits_finds_the_same(tmp_path: Path):
    path = tmp_path / "minilm.gguf"
    folder = resolve("all-minilm-l6-v2").path
    quantize_model(folder, "all-minilm-l6-v2", "q8_0", path, requantize=False, progress=lambda *_: None, say=lambda line: None)
    assert path.stat().st_size < 0.4 * sum(tensor.nbytes for tensor in load_file(folder / "model.safetensors").values())
    texts = ["The capital of France is Paris.", "Dogs and cats live together.", "Das ist kein Englisch."]
    found = []
    for where in (path, folder):
        with Engine(str(where), is_embedding=True, dtype="float32", max_total_tokens=1024) as engine:
            found.append(np.array([one["embedding"] for one in engine.encode(texts)]))
    assert (found[0] * found[1]).sum(1).min() > 0.999
