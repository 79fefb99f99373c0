"""A `tokenizer.model` alone gives the ids that the SentencePiece library gives."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import gguf
import pytest

from workbench.checkpoint.gguf_file import GgufFile
from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.text.gguf_tokenizer import open_tokenizer
from workbench.text.sentencepiece_file import read_piece_model
from workbench.text.tokenizer import load_tokenizer

spm = pytest.importorskip("sentencepiece", reason="the library that trains the files of these tests is not installed")
WORDS = "the cat sat on the mat while rain fell upon green hills and 12345 foxes jumped over a lazy dog again".split()
TEXTS = (
    "the cat sat",
    " the  cat ",
    "rain\nfell\tupon",
    "a",
    "",
    "caf\u00e9 \u6f22\u5b57 \U0001f600",
    "12 345 foxes!",
    "\uff46\uff55\uff4c\uff4c",
)
"""The last one is in full-width letters, which a table of characters makes plain."""


def trained(folder: Path, kind: str, **options: Any) -> Any:
    """Trains a tiny model, writes it as a tokenizer's folder, and returns the library's own reader of it."""
    sentences = [" ".join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))] * 3
    made = io.BytesIO()
    settings = {
        "vocab_size": 400,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
    }
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=made, model_type=kind, hard_vocab_limit=False, minloglevel=3,
        user_defined_symbols=["<tool>"], **settings | options,
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    return spm.SentencePieceProcessor(model_proto=made.getvalue())


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("options", [
    {}, {"normalization_rule_name": "nmt_nfkc", "remove_extra_whitespaces": True}, {"add_dummy_prefix": False},
    {"byte_fallback": False},
], ids=["llama", "t5", "gemma", "unknown"])  # fmt: skip
def test_ids_and_texts_are_those_of_the_library(tmp_path: Path, kind: str, options: dict[str, Any]):
    theirs = trained(tmp_path, kind, **options)
    ours = load_tokenizer(tmp_path)
    assert ours.vocab_size == theirs.vocab_size()
    for text in TEXTS:
        ids = theirs.encode(text)
        assert list(ours.encode(text, add_special_tokens=False)) == ids, text
        if options.get("byte_fallback", True):
            assert ours.decode(ids) == theirs.decode(ids), text
    assert ours.bos_token_id == theirs.bos_id()
    assert ours.eos_token_ids == {theirs.eos_id()}
    assert ours.encode("the")[0] == theirs.bos_id()
    (tmp_path / "tokenizer_config.json").write_text('{"legacy": false}')
    text = "the<tool>cat"  # by default a space follows a special token, as in the older classes of transformers
    assert list(load_tokenizer(tmp_path).encode(text, add_special_tokens=False)) == theirs.encode(text)


def test_the_configuration_beside_it_counts(tmp_path: Path):
    theirs = trained(tmp_path, "bpe")
    size = theirs.vocab_size()
    config = {
        "add_bos_token": False, "add_eos_token": True, "eos_token": {"content": "<|end|>"},
        "added_tokens_decoder": {str(size): {"content": "<|end|>", "special": True}, str(size + 1): {"content": "<seen>"}},
    }  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours = load_tokenizer(tmp_path)
    assert list(ours.encode("the cat")) == [*theirs.encode("the cat"), size]
    assert ours.eos_token_ids == {size}
    assert ours.encode("a <seen>", add_special_tokens=False)[-1] == size + 1
    assert ours.decode([size, size + 1]) == "<seen>"
    config["added_tokens_decoder"][str(size + 9)] = {"content": "<far>", "special": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelCorrupt, match="gives '<far>' the id"):
        load_tokenizer(tmp_path)


def test_a_config_may_name_an_unused_piece(tmp_path: Path):
    theirs = trained(tmp_path, "bpe", control_symbols=["[UNUSED_TOKEN_145]", "[UNUSED_TOKEN_146]"])
    end, start = (theirs.piece_to_id(f"[UNUSED_TOKEN_{number}]") for number in (145, 146))
    added = {str(start): {"content": "<|im_start|>", "special": True}, str(end): {"content": "<|im_end|>", "special": True}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added, "eos_token": "<|im_end|>"}))
    ours = load_tokenizer(tmp_path)
    assert ours.vocab_size == theirs.vocab_size()
    assert list(ours.encode("<|im_start|>the cat<|im_end|>")) == [theirs.bos_id(), start, *theirs.encode("the cat"), end]
    assert (ours.eos_token_ids, ours.decode([start, end])) == ({end}, "")


@pytest.mark.parametrize("options", [{}, {"normalization_rule_name": "nmt_nfkc", "remove_extra_whitespaces": True}])
def test_a_gguf_file_of_the_same_pieces_cuts_as_it(tmp_path: Path, options: dict[str, Any]):
    trained(tmp_path, "unigram", **options)
    model = read_piece_model(tmp_path / "tokenizer.model")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "bert")
    writer.add_context_length(64)
    writer.add_tokenizer_model("t5")
    writer.add_token_list(model.tokens)
    writer.add_token_scores(model.scores)
    writer.add_token_types(model.types)
    writer.add_remove_extra_whitespaces(model.joins_spaces)
    if model.charsmap:
        writer.add_precompiled_charsmap(model.charsmap)
    for name in ("unk", "bos", "eos"):
        getattr(writer, f"add_{name}_token_id")(model.ids[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    ours, theirs = open_tokenizer(GgufFile(tmp_path / "m.gguf")), load_tokenizer(tmp_path)
    for text in TEXTS:
        wanted = theirs.encode(text, add_special_tokens=False)
        assert ours.backend_tokenizer.encode(text).ids == [model.ids["bos"], *wanted, model.ids["eos"]], text


@pytest.mark.parametrize("is_listed", [True, False])
def test_chatglms_special_tokens_are_those_of_its_class(tmp_path: Path, is_listed: bool):
    theirs = trained(tmp_path, "bpe")
    size = theirs.vocab_size()
    template = "[gMASK]sop{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{% endfor %}<|assistant|>"
    listed = {str(size + 1): {"content": "[gMASK]", "special": True}, str(size + 6): {"content": "<|user|>", "special": True}}
    config = {"tokenizer_class": "ChatGLMTokenizer", "chat_template": template}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | ({"added_tokens_decoder": listed} if is_listed else {})))
    ours = load_tokenizer(tmp_path)
    for text in ("the cat", "philosophy of people", "sopcat"):
        assert list(ours.encode(text)) == [size + 1, size + 3, *theirs.encode(text)], text
    ids = ours.encode(ours.chat_text([{"role": "user", "content": "the"}]), add_special_tokens=False)
    assert [token for token in ids if token >= size] == [size + 1, size + 3, size + 6, size + 7]
    assert ours.eos_token_ids == {theirs.eos_id(), size + 6, size + 8}


def test_a_conversation_behind_a_special_token_has_no_space_where_the_config_has_none(tmp_path: Path):
    theirs = trained(tmp_path, "bpe")
    texts = {}
    for legacy in (True, False):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"legacy": legacy, "add_bos_token": False}))
        texts[legacy] = load_tokenizer(tmp_path).encode("the</s>cat")
    assert list(texts[True]) == [*theirs.encode("the"), theirs.eos_id(), *theirs.encode("cat")]
    assert list(texts[False][:2]) == [*theirs.encode("the"), theirs.eos_id()]
    assert theirs.decode(list(texts[False][2:])) == "cat"
    assert not theirs.id_to_piece(texts[False][2]).startswith("\u2581")


def test_a_broken_file_is_named(tmp_path: Path):
    trained(tmp_path, "bpe")
    path = tmp_path / "tokenizer.model"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(ModelCorrupt, match="no whole SentencePiece model"):
        load_tokenizer(tmp_path)
    trained(tmp_path, "char")
    with pytest.raises(ModelUnsupported, match="of the kind BPE or Unigram"):
        load_tokenizer(tmp_path)
