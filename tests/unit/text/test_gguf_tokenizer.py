"""The tokenizer that a GGUF file describes is the one that transformers makes of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from workbench.checkpoint.gguf_file import GgufFile
from workbench.errors import ModelUnsupported
from workbench.text import gguf_tokenizer
from workbench.text.byte_files import ONE_DIGIT
from workbench.text.gguf_tokenizer import PRE_TOKENIZERS, SAME_PRE_TOKENIZER, USUAL_RULES, open_tokenizer
from workbench.text.pieces import SPACE, implied_merges
from workbench.text.tokenizer import load_tokenizer

Maker = Callable[..., Path]


def backend_of(path: Path) -> Tokenizer:
    return open_tokenizer(GgufFile(path)).backend_tokenizer


@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_transformers_makes_the_same_tokenizer_of_the_file(tiny_ggufs: dict[str, Path], arch: str):
    """Tested without digits, since transformers does not support the rule `smollm`."""
    from transformers import AutoTokenizer

    path = tiny_ggufs[arch]
    theirs, ours = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name), load_tokenizer(path).hf
    for text in ("hello world", "the  thing\n\nis   in", "<s>x</s>", "é漢😀", "", " "):
        assert ours(text).input_ids == theirs(text).input_ids
        assert ours.decode(ours(text).input_ids) == theirs.decode(ours(text).input_ids)
    assert (ours.bos_token, ours.eos_token, ours.chat_template) == (theirs.bos_token, theirs.eos_token, theirs.chat_template)


def test_saved_and_read_again_it_is_the_same(tiny_ggufs: dict[str, Path], tmp_path: Path):
    ours = load_tokenizer(tiny_ggufs["gemma3"])
    ours.hf.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.backend.to_str() == ours.backend.to_str()
    assert again.hf.special_tokens_map == ours.hf.special_tokens_map


def test_every_token_that_ends_a_turn_ends_a_generation(make_gguf: Maker):
    assert load_tokenizer(make_gguf(meta={"tokenizer.ggml.eot_token_id": 5})).eos_token_ids == {1, 5}


def test_digits_are_cut_singly_as_smollm_wants(make_gguf: Maker):
    """`12` is a merge of this vocabulary; cut before merging, it never happens."""
    assert backend_of(make_gguf()).encode("hello 12").tokens == ["hello", "Ġ", "1", "2"]


SINGLE, BY_THREE = ["2", "0", "2", "4"], ["202", "4"]
CUTS = {
    "gpt-2": ["It", "'s", " 2024"], "smollm": ["It", "'s", " ", *SINGLE], "qwen2": ["It", "'s", " ", *SINGLE],
    "llama-bpe": ["It", "'s", " ", *BY_THREE], "gpt-4o": ["It's", " ", *BY_THREE], "tekken": ["It", "'s", " ", *SINGLE],
    "deepseek-v3": ["It", "'s", " ", *BY_THREE], "deepseek-llm": ["It", "'", "s", " ", *SINGLE],
    "deepseek-coder": ["It", "'", "s", " ", *SINGLE],
}  # fmt: skip


@pytest.mark.parametrize("rule", CUTS)
def test_each_rule_cuts_words_and_numbers_in_its_way(rule: str):
    found = PRE_TOKENIZERS[rule].pre_tokenize_str("It's 2024")
    assert ["It's 2024"[start:end] for _, (start, end) in found] == CUTS[rule]


def test_the_rule_of_qwen_is_that_of_transformers():
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    assert PRETOKENIZE_REGEX == ONE_DIGIT


def test_capitals_begin_words_where_the_rule_has_it_so():
    for rule in ("gpt-4o", "tekken"):
        cut = PRE_TOKENIZERS[rule].pre_tokenize_str("helloWorld HTTPServer/")
        assert ["helloWorld HTTPServer/"[start:end] for _, (start, end) in cut] == ["hello", "World", " HTTPServer", "/"]


def test_the_rules_of_deepseek_keep_words_and_signs_apart():
    text = "a\nb!  東京, 3é "
    for rule, japanese in (("deepseek-llm", ["東京", ","]), ("deepseek-coder", ["東京", ","])):
        cut = [text[start:end] for _, (start, end) in PRE_TOKENIZERS[rule].pre_tokenize_str(text)]
        assert "".join(cut) == text
        assert cut[:4] == ["a", "\n", "b", "!"]
        assert [part for part in cut if part.strip() in japanese] == japanese
        assert cut[-3:] == ["3", "é", " "]


def test_a_file_of_before_there_were_rules_has_that_of_its_architecture(make_gguf: Maker, monkeypatch: pytest.MonkeyPatch):
    path = make_gguf(pre="")
    with pytest.raises(ModelUnsupported, match="by the rule 'default'"):
        open_tokenizer(GgufFile(path))
    monkeypatch.setattr(gguf_tokenizer, "LLAMA_3_TOKENS", GgufFile(path).tensors["token_embd.weight"].shape[0])
    assert open_tokenizer(GgufFile(path)).backend_tokenizer.encode("12").tokens[-1] == "12", "of Llama 3"
    assert set(USUAL_RULES.values()) <= PRE_TOKENIZERS.keys() | SAME_PRE_TOKENIZER.keys()


def test_names_of_models_stand_for_a_rule_that_is_there():
    assert set(SAME_PRE_TOKENIZER.values()) <= set(PRE_TOKENIZERS)


def test_qwen_composes_letters_and_marks(make_gguf: Maker):
    composed, apart = (backend_of(make_gguf(meta={"tokenizer.ggml.pre": rule})) for rule in ("qwen2", "deepseek-r1-qwen"))
    assert composed.encode("e\u0301").ids == composed.encode("é").ids
    assert apart.encode("e\u0301").ids != apart.encode("é").ids


@pytest.fixture(scope="module")
def backends(tiny_ggufs: dict[str, Path]) -> dict[str, Tokenizer]:
    return {arch: backend_of(path) for arch, path in tiny_ggufs.items()}


@given(text=st.text(max_size=40))
def test_byte_level_text_comes_back_as_it_went_in(backends: dict[str, Tokenizer], text: str):
    ids = backends["llama"].encode(text, add_special_tokens=False).ids
    assert backends["llama"].decode(ids, skip_special_tokens=False) == text


@given(text=st.text(max_size=40).filter(lambda text: SPACE not in text))
def test_sentencepiece_text_comes_back_as_it_went_in(backends: dict[str, Tokenizer], text: str):
    ids = backends["gemma3"].encode(text, add_special_tokens=False).ids
    assert backends["gemma3"].decode(ids, skip_special_tokens=False) == text


def test_special_tokens_are_whole_hidden_and_placed(tiny_ggufs: dict[str, Path]):
    opened = open_tokenizer(GgufFile(tiny_ggufs["gemma3"]))
    hf, tokenizer = opened.made, opened.backend_tokenizer
    assert tokenizer.encode("the\n\n").tokens == ["<bos>", "t", "he", "\n\n"]
    assert tokenizer.encode("the", add_special_tokens=False).tokens == ["t", "he"]
    assert tokenizer.encode("x", "y").tokens.count("<bos>") == 2
    assert tokenizer.encode("a<eos>b", add_special_tokens=False).tokens[1] == "<eos>"
    assert tokenizer.decode(tokenizer.encode("the thing").ids) == "the thing"
    assert (hf.bos_token, hf.eos_token, hf.unk_token, hf.pad_token) == ("<bos>", "<eos>", "<unk>", "<pad>")
    assert hf.chat_template is None
    for name in ("bos_token", "bos_token_id", "eos_token_id", "chat_template"):
        assert getattr(opened, name) == getattr(hf, name)
    assert {i: str(token) for i, token in opened.added_tokens_decoder.items()} == {
        i: str(token) for i, token in hf.added_tokens_decoder.items()
    }


def test_bos_and_eos_stand_where_the_file_wants_them(make_gguf: Maker):
    meta = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}
    tokenizer = backend_of(make_gguf(meta=meta))
    assert tokenizer.encode("hello").tokens == ["<s>", "hello", "</s>"]
    assert tokenizer.encode("hello", "h").tokens == ["<s>", "hello", "</s>", "<s>", "h", "</s>"]


def test_the_chat_template_is_that_of_the_file(make_gguf: Maker):
    assert open_tokenizer(GgufFile(make_gguf())).chat_template.startswith("{% for m in messages %}")


def test_the_template_for_tools_is_used_with_tools(make_gguf: Maker):
    named = {"tokenizer.chat_template": "plain", "tokenizer.chat_template.tool_use": "tools {{ tools | length }}"}
    tokenizer = load_tokenizer(make_gguf(meta=named))
    messages, tools = [{"role": "user", "content": "hi"}], [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    for _ in range(2):
        assert tokenizer.chat_text(messages) == "plain"
        assert tokenizer.chat_text(messages, tools=tools) == "tools 1"
        assert tokenizer.hf.eos_token == "</s>"  # the object of transformers is made now


def test_implied_merges_are_every_way_to_make_a_piece():
    tokens = ["a", "b", "c", "ab", "bc", "abc", "xa"]
    expected = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]
    assert implied_merges(tokens, range(len(tokens))) == expected
    shuffled = ["abc", "xa", "b", "bc", "a", "ab", "c"]
    assert implied_merges(shuffled, [tokens.index(token) for token in shuffled]) == expected


@pytest.mark.parametrize(
    "spec, error", [({"pre": "martian"}, "by the rule 'martian'"), ({"tokenizer": "rwkv"}, "tokenizer of kind 'rwkv'")]
)
def test_what_would_change_the_text_is_refused(make_gguf: Maker, spec: dict[str, Any], error: str):
    with pytest.raises(ModelUnsupported, match=error):
        load_tokenizer(make_gguf(**spec))


@pytest.mark.process
def test_an_engine_generates_without_importing_transformers(smollm2: str):
    code = (
        "import sys, workbench; engine = workbench.Engine(sys.argv[1])\n"
        "print(engine.generate('The sea', max_new_tokens=3, temperature=0)['text'])\n"
        "assert 'transformers' not in sys.modules\n"
        "assert engine.chat([{'role': 'user', 'content': 'Hi'}], max_new_tokens=3) and 'transformers' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, smollm2], check=True)
