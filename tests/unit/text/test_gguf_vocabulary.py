"""A tokenizer that is written as GGUF metadata and read again cuts every text as before."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_tokenizers import KINDS, wrap
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers

from workbench.errors import ModelUnsupported
from workbench.text.gguf_vocabulary import first_difference, tokenizer_meta
from workbench.text.tokenizer import Tokenizer, load_tokenizer

VOCAB_SIZE = 420
"""More than any of these tokenizers has."""


def written(path: Path, tokenizer: Tokenizer, architecture: str) -> Tokenizer:
    """Returns the tokenizer as it is read from a file without weights."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(128)
    for key, value in tokenizer_meta(tokenizer, VOCAB_SIZE).items():
        add = {str: writer.add_string, int: writer.add_uint32, bool: writer.add_bool, list: writer.add_array}
        add[type(value)](key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return load_tokenizer(path)


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Tokenizer]:
    kind = request.param
    tokenizer = wrap(KINDS[kind]())
    if kind == "byte level":
        tokenizer.backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.gguf"
    return tokenizer, written(path, tokenizer, "gemma3" if kind == "gemma" else "llama")


@given(text=st.text(st.sampled_from("the cat▁ \n\t0é漢😀<s>|im_end\x00\ufffd€</tool>"), max_size=40) | st.text(max_size=20))
def test_any_text_has_the_same_tokens_and_comes_back(pair: tuple[Tokenizer, Tokenizer], text: str):
    one, other = pair
    for special in (True, False):
        ids = one.encode(text, add_special_tokens=special)
        assert other.encode(text, add_special_tokens=special) == ids
        assert other.decode(ids) == one.decode(ids)


def test_special_tokens_and_the_chat_template_are_kept(pair: tuple[Tokenizer, Tokenizer]):
    one, other = pair
    assert first_difference(one, other) is None
    assert other.special_ids >= one.special_ids
    assert other.eos_token_ids == {1, 3}, "3 is <|im_end|>, with which the chat template ends a turn"
    messages = [{"role": "user", "content": "a river"}]
    assert other.chat_ids(messages) == one.chat_ids(messages)
    assert len(other.backend.get_vocab()) == VOCAB_SIZE, "ids without a token have a name"


def test_further_end_tokens_are_kept_up_to_two(tmp_path: Path):
    tokenizer = wrap(KINDS["byte level"]())
    tokenizer.eos_token_ids |= {2, 3}
    assert written(tmp_path / "a.gguf", tokenizer, "llama").eos_token_ids == {1, 2, 3}
    tokenizer.eos_token_ids |= {4}
    with pytest.raises(ModelUnsupported, match="4 end tokens"):
        tokenizer_meta(tokenizer, VOCAB_SIZE)


def test_a_tokenizer_of_another_kind_is_refused():
    with pytest.raises(ModelUnsupported, match="Unigram"):
        tokenizer_meta(wrap(Backend(models.Unigram([("<s>", 0.0), ("</s>", 0.0), ("a", -1.0)], unk_id=0))), VOCAB_SIZE)
    tokenizer = wrap(KINDS["byte level"]())
    tokenizer.backend.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ModelUnsupported, match="no merges"):
        tokenizer_meta(wrap(Backend(models.BPE({"a": 0, "b": 1}, []))), VOCAB_SIZE)
    with pytest.raises(ModelUnsupported, match="Whitespace"):
        tokenizer_meta(tokenizer, VOCAB_SIZE)


def test_a_rule_without_words_in_the_format_is_found_by_comparing(tmp_path: Path):
    tokenizer = wrap(KINDS["byte level"]())
    tokenizer.backend.normalizer = normalizers.Lowercase()
    assert first_difference(tokenizer, written(tmp_path / "a.gguf", tokenizer, "llama")) == "Hello world"
