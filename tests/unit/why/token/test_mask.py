"""The mask at a step: every token of the vocabulary is counted once, and the allowed tokens are those that a scan finds."""

from __future__ import annotations

import pytest
import regex

import workbench
from workbench.why.token.mask import CLASSES, classes_of

PATTERN = r"(yes|no), [0-9]{2}"


@pytest.fixture(scope="module")
def grammar(smollm2) -> workbench.Grammar:
    return workbench.Grammar(model=smollm2, regex=PATTERN)


def scanned(grammar: workbench.Grammar, before: str) -> set[int]:
    """Returns the ids whose text may follow `before`, by the `regex` package."""
    spelled = grammar.vocabulary.pieces
    found = {i for i, data in enumerate(spelled) if data and data.isascii() and fits(before + data.decode())}
    return found | (set(grammar.vocabulary.eos_token_ids) if regex.fullmatch(PATTERN, before) else set())


def fits(text: str) -> bool:
    return regex.fullmatch(PATTERN, text, partial=True) is not None


@pytest.mark.parametrize("before", ["", "y", "yes", "yes,", "no, ", "no, 4", "no, 42"])
def test_the_classes_count_what_a_scan_of_the_vocabulary_finds(grammar, before):
    ids = grammar.vocabulary.hf.encode(before, add_special_tokens=False)
    mask = grammar.mask_at(ids, len(ids))
    wanted = scanned(grammar, before)
    assert mask.num_allowed == len(wanted) == sum(share.num_allowed for share in mask.classes)
    assert {token.token_id for token in mask.tokens} == wanted if len(wanted) <= 60 else len(mask.tokens) == 60
    assert sum(share.num_tokens for share in mask.classes) == mask.num_tokens == grammar.vocabulary.size
    kinds = classes_of(grammar.vocabulary)
    for share in mask.classes:
        assert share.num_allowed == sum(CLASSES[kinds[i]] == share.name for i in wanted)
        assert {token.token_id for token in share.examples} <= wanted
    assert mask.text == before
    assert mask.chosen is None


def test_a_step_in_the_middle_names_what_came_and_the_place(grammar):
    ids = grammar.vocabulary.hf.encode("no, 42", add_special_tokens=False)
    mask = grammar.mask_at(ids, len(ids) - 1)
    assert (mask.text, mask.chosen.text) == ("no, 4", "2")
    assert '10 of 49,152 tokens may come (in the part `[0-9]{2}` of the pattern): 0-9. "2" came.' in str(mask)
    assert "digits" in mask.to_text()
    assert mask.to_dict()["classes"][3]["num_allowed"] == 10
    assert 'class="wb-num">10</td>' in mask.to_html()


@pytest.mark.parametrize(
    "text, name",
    [
        (" river", "words after a space"), ("river", "letters"), ("7", "digits"), ('":', "punctuation"), ("\n", "white space"),
        ("<|im_end|>", "end of the text"), ("<|im_start|>", "special"),
    ],
)  # fmt: skip
def test_a_token_is_of_the_class_its_text_says(grammar, text, name):
    (token,) = grammar.vocabulary.hf.encode(text, add_special_tokens=False)
    assert CLASSES[classes_of(grammar.vocabulary)[token]] == name


def test_half_characters_have_a_class_of_their_own(grammar):
    kinds = classes_of(grammar.vocabulary)
    for i, data in enumerate(grammar.vocabulary.pieces):
        assert (CLASSES[kinds[i]] == "parts of a character") == (data.decode("utf-8", "replace").encode() != data), data
