"""Rules made of an automaton equal the regular expression: the same tokens, whatever the counts."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import regex as partial_regex
import xgrammar
from random_patterns import random_pattern

from workbench.grammar.linear import MAX_STATES, linear_rules
from workbench.grammar.mask import unpack
from workbench.grammar.regex import plain_regex
from workbench.grammar.regex_rules import END, regex_rules

WORDS = ["\n", "é", "漢", '""', '",', 'a"', '":', "aa", "aab", "ab,", " a", ', "', "12", "12.", '"x"', "é漢"]
TOKENS = [*map(chr, range(32, 127)), *WORDS]
INFO = xgrammar.TokenizerInfo(TOKENS, xgrammar.VocabType.RAW, stop_token_ids=[])
COMPILER = xgrammar.GrammarCompiler(INFO, max_threads=1, cache_enabled=False)
ATOMS = ["a", "b", '"', "[a,]", "[^a]"]
PATTERNS = [
    r'"[^"]{0,5}"', r'\{"a": "[a-z ]{1,6}", "b": (12|aab)\}', r"a{2,4}(, a{1,3}){0,3}", r"((25[0-5]|2[0-4]\d|[01]?\d\d?)\.){3}\d",
    r"(ab|aa)*", r"a+b?", r"", r"(a?){3}", r"é{1,3}漢|[é-漢]a", r'"[^"]{0,129}"', r'"[^"]{130,700}"', r"(a|[^,]{0,140}b){1,2},",
    r'[^"]{300,}"', r"(\n|.)*x",
]  # fmt: skip


def allowed(matcher: xgrammar.GrammarMatcher) -> set[str]:
    mask = np.zeros((1, -(-len(TOKENS) // 32)), dtype=np.int32)
    matcher.fill_next_token_bitmask(mask)
    return {TOKENS[i] for i in np.flatnonzero(unpack(mask[0], len(TOKENS)))}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_mask_holds_every_token_that_can_go_on_and_no_other(pattern: str) -> None:
    judge = partial_regex.compile(pattern)
    grammar = COMPILER.compile_grammar(regex_rules(plain_regex(pattern)))
    draw = random.Random(pattern)
    for _ in range(4):
        matcher, text = xgrammar.GrammarMatcher(grammar, terminate_without_stop_token=True), ""
        for _ in range(40):
            assert matcher.is_completed() == bool(re.fullmatch(pattern, text))
            fits = allowed(matcher)
            assert fits == {token for token in TOKENS if judge.fullmatch(text + token, partial=True)}
            if not fits:
                break
            token = draw.choice(sorted(fits))
            text += token
            assert matcher.accept_token(TOKENS.index(token))


@pytest.mark.parametrize("seed", range(60))
def test_random_expressions_accept_what_re_accepts(seed: int) -> None:
    pattern = random_pattern(random.Random(seed), 4, ATOMS)
    rules = linear_rules(plain_regex(pattern), "root", END)
    assert rules is not None
    grammar = COMPILER.compile_grammar(rules)
    draw = random.Random(pattern)
    for _ in range(60):
        text = "".join(draw.choice('ab",x') for _ in range(draw.randrange(7)))
        matcher = xgrammar.GrammarMatcher(grammar, terminate_without_stop_token=True)
        assert (matcher.accept_string(text) and matcher.is_completed()) == bool(re.fullmatch(pattern, text)), text


def test_an_expression_with_too_many_states_has_no_automaton() -> None:
    assert linear_rules(f"[ab]{{0,{MAX_STATES - 1}}}", "root", END) is not None
    assert linear_rules(f"[ab]{{0,{MAX_STATES}}}", "root", END) is None
    assert linear_rules("(?:a|b)*a(?:a|b){12}", "root", END) is None  # two to the power of 12
    assert linear_rules("a{1,100000}", "root", END) is None
