"""Matchers allow exactly the prefixes of matches, end where the text may end, and share compiled grammars."""

from __future__ import annotations

import gc
import itertools
import os
import random
import re
import threading
import weakref

import numpy as np
import pytest

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar import GrammarCompiler, Matcher, Options, TokenRejected, Vocabulary, compile_grammar
from workbench.types import GrammarSpec

END, START = 0, 1


def allowed(matcher: Matcher, vocabulary: Vocabulary) -> set[int]:
    mask = np.full(-(-vocabulary.size // 32), -1, dtype=np.int32)
    matcher.fill_mask(mask)
    return set(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist())


def ids_of(vocabulary: Vocabulary, text: str) -> list[int]:
    return [vocabulary.hf.convert_tokens_to_ids(char.replace(" ", "Ġ").replace("\n", "Ċ")) for char in text]


def regex(pattern: str, vocabulary: Vocabulary) -> Matcher:
    return compile_grammar(GrammarSpec("regex", pattern), vocabulary).start()


FINITE = [r"a?b{1,2}", r"(ab|ba){0,2}a?", r"[ab]{3}", r"aab|ab|b", r"(a|b(a|b))b?"]


@pytest.mark.parametrize("pattern", FINITE)
def test_masks_equal_a_scan_of_the_vocabulary(pattern: str, vocabulary: Vocabulary) -> None:
    """At every step, a token is allowed exactly if the text with it begins some text of the language."""
    language = [t for n in range(8) for t in map("".join, itertools.product("ab", repeat=n)) if re.fullmatch(pattern, t)]
    texts = {i: vocabulary.hf.decode([i]) for i in range(len(vocabulary.hf)) if i not in (END, START)}
    draw = random.Random(pattern)
    for _ in range(10):
        matcher, text = regex(pattern, vocabulary), ""
        while True:
            expected = {i for i, token in texts.items() if token and any(whole.startswith(text + token) for whole in language)}
            expected |= {END} if text in language else set()
            assert allowed(matcher, vocabulary) == expected
            assert matcher.is_complete == (text in language)
            token = draw.choice(sorted(expected))
            matcher.accept(token)
            if token == END:
                break
            text += texts[token]


@pytest.mark.parametrize("pattern", [*FINITE, r"abba(ab)?", r"(ab){2}b?", r"(abb|abaa)a"])
def test_forced_text_is_what_all_of_the_language_goes_on_with(pattern: str, vocabulary: Vocabulary) -> None:
    language = [t for n in range(8) for t in map("".join, itertools.product("ab", repeat=n)) if re.fullmatch(pattern, t)]
    for text in sorted({whole[:k] for whole in language for k in range(len(whole) + 1)}):
        matcher = regex(pattern, vocabulary)
        assert matcher.accept_bytes(text.encode()) == len(text)
        rests = [whole[len(text) :] for whole in language if whole.startswith(text)]
        assert matcher.forced().decode() == os.path.commonprefix(rests)
        assert matcher.is_complete == (text in language)


@pytest.mark.parametrize("pattern", FINITE)
def test_bytes_are_accepted_as_far_as_the_language_goes(pattern: str, vocabulary: Vocabulary) -> None:
    language = [t for n in range(8) for t in map("".join, itertools.product("ab", repeat=n)) if re.fullmatch(pattern, t)]
    for text in map("".join, itertools.product("abc", repeat=4)):
        longest = max(n for n in range(5) if any(whole.startswith(text[:n]) for whole in language))
        assert regex(pattern, vocabulary).accept_bytes(text.encode()) == longest


def test_forced_text_and_accepted_bytes_may_end_inside_a_character(vocabulary: Vocabulary) -> None:
    matcher = regex("[éè]x", vocabulary)
    assert matcher.forced() in (b"\xc3", b"")  # xgrammar 0.2.9 forces whole characters only
    assert matcher.accept_bytes("é".encode()[:1]) == 1
    assert matcher.forced() == b""
    assert matcher.accept_bytes("é".encode()[1:] + b"y") == 1
    assert matcher.forced() == b"x"


@pytest.mark.parametrize(
    "pattern",
    [
        r"((25[0-5]|2[0-4]\d|[01]?\d\d?).){3}(25[0-5]|2[0-4]\d|[01]?\d\d?)",
        r"[^a]{1,4}",
        r"é漢|\w+ \W",
        r".{2,5}",
        r'\{"x": "[ -~]{1,5}"\}',
    ],
)
def test_random_texts_of_a_regex_match_it(pattern: str, vocabulary: Vocabulary) -> None:
    draw, num_ended = random.Random(pattern), 0
    for _ in range(100):
        matcher, ids = regex(pattern, vocabulary), []
        while len(ids) < 60 and (not ids or ids[-1] != END):
            choices = sorted(allowed(matcher, vocabulary))
            ids.append(END if END in choices and draw.random() < 0.5 else draw.choice(choices))
            matcher.accept(ids[-1])
        if ids[-1] == END:
            num_ended += 1
            assert re.fullmatch(pattern, vocabulary.hf.decode(ids[:-1])), vocabulary.hf.decode(ids[:-1])
    assert num_ended > 50


def test_ebnf_in_the_dialect_of_ggml(vocabulary: Vocabulary) -> None:
    greeting = 'root ::= ("Hello" | "Hi" | "Hey") rest?\nrest ::= " " name ("," rest)?  # a comment\nname ::= [a-z]+'
    for text, fits in {"Hello": True, "Hi bob": True, "Hey bob, al": True, "Hi ": False, "Hallo": False, "Hi Bob": False}.items():
        matcher = compile_grammar(GrammarSpec("ebnf", greeting), vocabulary).start()
        try:
            for token in ids_of(vocabulary, text):
                matcher.accept(token)
            assert matcher.is_complete == fits
        except TokenRejected:
            assert not fits


@pytest.mark.parametrize(
    "text", ["root ::= ", 'root ::= "a', "root ::= b", 'main ::= "a"', "", 'root ::= "a" )', "root ::= [z-a]", "root ::= \ud800"]
)
def test_a_wrong_grammar_is_an_invalid_request_with_the_parsers_words(text: str, vocabulary: Vocabulary) -> None:
    with pytest.raises(InvalidRequest, match=r"^ebnf is .* can be compiled") as caught:
        compile_grammar(GrammarSpec("ebnf", text), vocabulary)
    assert ".cc:" not in str(caught.value)


@pytest.mark.process
@pytest.mark.parametrize(
    "kind, text", [("regex", "a{%s}"), ("json_schema", '{"type": "array", "minItems": %s}'), ("ebnf", "root ::= [a]{%s}")]
)
@pytest.mark.parametrize("digits", [25, 5000])
def test_a_number_that_no_machine_counts_to_is_an_invalid_request(
    kind: str, text: str, digits: int, vocabulary: Vocabulary
) -> None:
    with pytest.raises(InvalidRequest, match=rf"^{kind}\S* is .* it must be"):
        compile_grammar(GrammarSpec(kind, text % ("9" * digits)), vocabulary)


def test_a_constraint_that_nothing_satisfies_is_refused(vocabulary: Vocabulary) -> None:
    with pytest.raises(InvalidRequest, match="some text satisfies"):
        compile_grammar(GrammarSpec("ebnf", "root ::= []"), vocabulary)


def test_a_rejected_token_raises_and_changes_nothing(vocabulary: Vocabulary) -> None:
    matcher = regex("ab", vocabulary)
    before = allowed(matcher, vocabulary)
    for token in (*ids_of(vocabulary, "bx"), END, START, vocabulary.size - 1):
        with pytest.raises(TokenRejected, match=rf"token {token} is not allowed .* {len(before)} others are"):
            matcher.accept(token)
        assert allowed(matcher, vocabulary) == before


def test_masks_read_only_and_forks_move_alone(vocabulary: Vocabulary) -> None:
    matcher = regex("abab", vocabulary)
    matcher.accept(*ids_of(vocabulary, "a"))
    fork = matcher.fork()
    before = allowed(matcher, vocabulary)
    fork.accept(*ids_of(vocabulary, "b"))
    assert allowed(matcher, vocabulary) == before != allowed(fork, vocabulary)


def test_special_tokens_and_unused_ids_are_never_allowed(vocabulary: Vocabulary) -> None:
    """Even if any text is valid: a skipped `<s>` would leave the text without what the grammar counted."""
    tokens = allowed(regex(".*", vocabulary), vocabulary)
    assert START not in tokens
    assert max(tokens) < len(vocabulary.hf) < vocabulary.size
    assert vocabulary.hf.convert_tokens_to_ids("<not special>") in tokens


def test_stop_tokens_are_allowed_only_where_the_text_may_end(vocabulary: Vocabulary) -> None:
    a, b, c = ids_of(vocabulary, "abc")
    grammar = compile_grammar(GrammarSpec("regex", "a+b?"), vocabulary)
    matcher = grammar.start({c, START, vocabulary.size + 5})
    assert not {END, START, c} & allowed(matcher, vocabulary)
    matcher.accept(a)
    assert {c, START, a, b} <= allowed(matcher, vocabulary)
    assert END not in allowed(matcher, vocabulary)
    assert not matcher.is_finished
    matcher.accept(c)
    assert matcher.is_finished
    assert matcher.num_allowed == 0
    assert allowed(matcher, vocabulary) == set()


def test_without_stop_tokens_a_sequence_ends_where_nothing_can_follow(vocabulary: Vocabulary) -> None:
    a, b = ids_of(vocabulary, "ab")
    matcher = compile_grammar(GrammarSpec("regex", "a+b?"), vocabulary).start(())
    for token, complete, finished in ((a, True, False), (a, True, False), (b, True, True)):
        matcher.accept(token)
        assert (matcher.is_complete, matcher.is_finished) == (complete, finished)
    assert matcher.num_allowed == 0


def test_a_character_of_several_tokens_is_followed_byte_by_byte(vocabulary: Vocabulary) -> None:
    matcher = regex("漢", vocabulary)
    for spelled in "æ¼¢":
        (token,) = allowed(matcher, vocabulary)
        assert vocabulary.hf.convert_ids_to_tokens(token) == spelled
        matcher.accept(token)
    assert allowed(matcher, vocabulary) == {END}


# ---- the cache -------------------------------------------------------------------------------------------------


def test_equal_constraints_are_compiled_once_also_by_several_threads(vocabulary: Vocabulary) -> None:
    cache = GrammarCompiler(vocabulary)
    compiled, spec = [], GrammarSpec("regex", "(a|b){1,50}c")
    threads = [threading.Thread(target=lambda: compiled.append(cache.get(spec))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(compiled) == 8
    assert len(set(map(id, compiled))) == 1


def test_the_least_recently_used_leaves_when_bytes_run_out(vocabulary: Vocabulary) -> None:
    one = GrammarCompiler(vocabulary).get(GrammarSpec("regex", "a{1,3}0")).num_bytes
    cache = GrammarCompiler(vocabulary, max_bytes=3 * one)
    specs = [GrammarSpec("regex", f"a{{1,3}}{i}") for i in range(4)]
    first, second, third = map(cache.get, specs[:3])
    assert cache.get(specs[0]) is first
    cache.get(specs[3])
    assert cache.num_bytes <= 3 * one
    assert cache.get(specs[0]) is first
    assert cache.get(specs[2]) is third
    assert cache.get(specs[1]) is not second


def test_a_failure_is_not_kept_and_reaches_every_caller(vocabulary: Vocabulary) -> None:
    cache = GrammarCompiler(vocabulary)
    for _ in range(2):
        with pytest.raises(NotSupported, match="lookahead"):
            cache.get(GrammarSpec("regex", "(?=a)"))
    assert cache.num_bytes == 0


def test_an_unknown_backend_is_named(vocabulary: Vocabulary) -> None:
    with pytest.raises(NotSupported, match="'llguidance'"):
        GrammarCompiler(vocabulary, Options("llguidance")).get(GrammarSpec("regex", "a"))


def test_the_cache_goes_with_its_vocabulary(vocabulary: Vocabulary) -> None:
    own = Vocabulary(vocabulary.hf, vocabulary.size, vocabulary.eos_token_ids)
    compiled = weakref.ref(compile_grammar(GrammarSpec("regex", "gone"), own))
    assert compiled() is not None
    del own
    gc.collect()
    assert compiled() is None
