"""Incremental text equals decoding everything at once, whatever the tokens."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.text.detokenizer import MAX_HELD, Detokenizer, TextStream
from workbench.text.tokenizer import Tokenizer
from workbench.types import SamplingParams


def decode_at_once(tokenizer: Tokenizer, prompt: Sequence[int], output: Sequence[int], skip: bool = True) -> str:
    before, whole = tokenizer.decode(prompt, skip), tokenizer.decode([*prompt, *output], skip)
    return whole[len(os.path.commonprefix([before, whole])) :]


def stream(tokenizer: Tokenizer, prompt: Sequence[int], output: Sequence[int], skip: bool = True) -> str:
    text = Detokenizer(tokenizer, prompt, skip_special_tokens=skip)
    return "".join([*(text.push(token) for token in output), text.finish()])


TEXTS = ["the cat sat", " naïve café", "漢字かな 😀👩‍🔬", "привет\n\n  x", "", "a  b   c", "\ufffd", "<|im_end|>the", "€€€ e"]


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("prompt", TEXTS)
@pytest.mark.parametrize("output", TEXTS)
def test_encoded_text_comes_back(tokenizer: Tokenizer, prompt: str, output: str, skip: bool) -> None:
    prompt_ids, ids = tokenizer.encode(prompt), tokenizer.backend.encode(output, add_special_tokens=False).ids
    assert stream(tokenizer, prompt_ids, ids, skip) == decode_at_once(tokenizer, prompt_ids, ids, skip)


@pytest.mark.heavy
@settings(max_examples=400)
@given(data=st.data(), skip=st.booleans())
def test_random_tokens_equal_plain_decode(tokenizer: Tokenizer, data: st.DataObject, skip: bool) -> None:
    # Ids above the vocabulary are possible: a model's logits may be wider than its tokenizer.
    anything = st.integers(0, tokenizer.vocab_size + 3)
    pieces = ["é", "€", "😀", "\ufffd", " the", "<|im_end|>", "€"]
    whole = st.sampled_from([tokenizer.backend.encode(text, add_special_tokens=False).ids for text in pieces])
    ids = st.lists(whole | anything.map(lambda i: [i]), max_size=20).map(lambda lists: [i for ids in lists for i in ids])
    prompt, output = data.draw(ids, "prompt"), data.draw(ids, "output")
    cut = data.draw(st.integers(0, len(prompt)), "cut")
    output = prompt[cut:] + output
    assert stream(tokenizer, prompt[:cut], output, skip) == decode_at_once(tokenizer, prompt[:cut], output, skip)


def test_an_unknown_id_does_not_end_a_run_of_bytes(tokenizer: Tokenizer) -> None:
    """`é`, an id without text, and a stray byte: in a vocabulary with byte tokens the byte breaks the `é` too."""
    half = tokenizer.backend.encode("é", add_special_tokens=False).ids[:-1]
    prompt = [*tokenizer.backend.encode("é", add_special_tokens=False).ids, tokenizer.vocab_size + 1]
    assert stream(tokenizer, prompt, half) == decode_at_once(tokenizer, prompt, half)


@pytest.mark.parametrize("seed", range(20))
def test_long_broken_text_equals_plain_decode(tokenizer: Tokenizer, seed: int) -> None:
    """Text is rarely certain: there are only bytes of broken characters, unknown ids and U+FFFD."""
    draw = random.Random(seed)
    bytes_of = tokenizer.backend.encode("漢😀\ufffd€", add_special_tokens=False).ids
    bad = [tokenizer.vocab_size + 1, *draw.sample(bytes_of, min(3, len(bytes_of)))]
    output = [draw.choice(bad) for _ in range(3 * MAX_HELD)]
    prompt = [draw.choice(bad) for _ in range(draw.randrange(30))]
    assert stream(tokenizer, prompt, output) == decode_at_once(tokenizer, prompt, output)


def test_text_without_end_of_broken_characters_is_given_out_in_time(byte_level_tokenizer: Tokenizer) -> None:
    half = byte_level_tokenizer.backend.encode("😀", add_special_tokens=False).ids[0]
    text = Detokenizer(byte_level_tokenizer, ())
    assert sum(len(text.push(half)) for _ in range(10 * MAX_HELD)) > 8 * MAX_HELD


def test_text_comes_as_soon_as_it_is_certain(byte_level_tokenizer: Tokenizer) -> None:
    ids = byte_level_tokenizer.backend.encode("the cat €", add_special_tokens=False).ids
    text = Detokenizer(byte_level_tokenizer, ())
    given_out = [text.push(token) for token in ids]
    assert "".join(given_out) == "the cat €"
    assert given_out[0]
    assert not any("\ufffd" in piece for piece in given_out)


def test_a_word_keeps_its_leading_space_after_a_prompt(tokenizer: Tokenizer) -> None:
    prompt, both = tokenizer.encode("the cat"), tokenizer.encode("the cat sat")
    assert both[: len(prompt)] == prompt
    assert stream(tokenizer, prompt, both[len(prompt) :]) == " sat"


def test_a_character_begun_in_the_prompt_belongs_to_the_output(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("at 漢")
    assert "\ufffd" in tokenizer.decode(ids[:-1])
    assert stream(tokenizer, ids[:-1], ids[-1:]) == "漢"


def test_an_unfinished_character_ends_as_plain_decode_shows_it(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("at 漢")[:-1]
    assert stream(tokenizer, ids[:2], ids[2:]) == decode_at_once(tokenizer, ids[:2], ids[2:])
    assert stream(tokenizer, ids[:2], ids[2:]).endswith("\ufffd")


def test_special_tokens_show_only_when_asked(tokenizer: Tokenizer) -> None:
    ids = tokenizer.backend.encode("cat<|im_end|>cat", add_special_tokens=False).ids
    shown = TextStream(tokenizer, (0,), SamplingParams(skip_special_tokens=False))
    hidden = TextStream(tokenizer, (0,), SamplingParams())
    assert "".join(shown.push(i)[0] for i in ids) + shown.finish() == decode_at_once(tokenizer, [0], ids, skip=False)
    assert "<|im_end|>" not in "".join(hidden.push(i)[0] for i in ids) + hidden.finish()


@settings(max_examples=200)
@given(text=st.text("abc \n€", max_size=30), stops=st.lists(st.text("abc \n€", min_size=1, max_size=4), max_size=3))
def test_stop_strings_cut_the_text_across_tokens(tokenizer: Tokenizer, text: str, stops: list[str]) -> None:
    """The result equals reading the whole text character by character."""
    ids = tokenizer.backend.encode(text, add_special_tokens=False).ids
    prompt = tokenizer.encode("the")
    whole = decode_at_once(tokenizer, prompt, ids)
    found = min(((whole.find(s) + len(s), whole.find(s)) for s in stops if s in whole), default=None)
    expected = whole if found is None else whole[: found[1]]

    texts = TextStream(tokenizer, prompt, SamplingParams(stop=tuple(stops)))
    given_out = ""
    for token in ids:
        piece, matched = texts.push(token)
        given_out += piece
        assert expected.startswith(given_out), "a part of a stop string leaked"
        if matched is not None:
            break
    given_out += texts.finish()
    assert given_out == expected
    assert texts.matched == (None if found is None else whole[found[1] : found[0]])


def test_a_stop_string_completed_only_by_the_end_is_still_cut(gemma_tokenizer: Tokenizer) -> None:
    """Bytes are certain only when their run ends, here with the output."""
    ids = gemma_tokenizer.backend.encode("cat漢", add_special_tokens=False).ids
    texts = TextStream(gemma_tokenizer, (), SamplingParams(stop=("t漢",)))
    assert "".join(texts.push(i)[0] for i in ids) + texts.finish() == "ca"
    assert texts.matched == "t漢"


def test_a_prompt_that_ends_in_many_special_tokens_still_counts_as_text_before(tokenizer: Tokenizer) -> None:
    prompt = [*tokenizer.encode("the cat"), *[2] * 40]
    word = tokenizer.encode("the cat sat")[len(tokenizer.encode("the cat")) :]
    assert stream(tokenizer, prompt, word) == " sat"
    assert stream(tokenizer, [2] * 40, word) == decode_at_once(tokenizer, [2] * 40, word)
