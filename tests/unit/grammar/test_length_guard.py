"""Limits of strings that are counted beside the grammar: the same texts and tokens as with an automaton that counts."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import numpy as np
import pytest

from workbench.grammar import Matcher, TokenRejected, Vocabulary, compile_grammar
from workbench.grammar.normalise import Plain
from workbench.grammar.schema.build import read_schema
from workbench.grammar.schema.scalars import LONG
from workbench.grammar.xgrammar_backend import XGrammarBackend
from workbench.grammar.xgrammar_compile import COUNTED, compiler
from workbench.types import GrammarSpec

N = LONG + 6
S: dict[str, Any] = {"type": "string", "maxLength": N}
LONGER = {**S, "maxLength": N + 3}
CHARS = ["a", "b", " ", "é", "漢", "😀", r"\n", r"\"", r"\\", r"\/", r"\u00e9", r"\ud83d\ude00", r"\uDBFF\uDFFF", r"\u001F"]
WORD = ["a", "b"]


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


COUNTABLE: dict[str, Any] = {
    "a string": S, "at least one": {**S, "minLength": 1}, "a pattern": {**S, "pattern": "^[ab]+$"},
    "a beginning": {**S, "pattern": "^aab"}, "some length and a pattern": {**S, "minLength": 3, "pattern": "^b"},
    "an array": {"type": "array", "items": S, "maxItems": 3}, "two limits": closed(a=S, b=LONGER),
    "inside each other": closed(a=closed(b={"type": "array", "items": LONGER, "minItems": 2, "maxItems": 2}), c=S),
    "beside others": {"anyOf": [S, {"type": "null"}, {"type": "integer", "maximum": 9, "minimum": 0}]},
    "beside short values": {"anyOf": [S, {"enum": ["ab", 3]}]}, "beside no limit": closed(a=S, b={"type": "string"}),
    "open": {"type": "object", "properties": {"a": S}, "additionalProperties": LONGER, "maxProperties": 2},
    "apart by a kind": {"anyOf": [closed(kind={"const": "a"}, v=S), closed(kind={"const": "b"}, v=LONGER)]},
}  # fmt: skip
DISPUTED: dict[str, Any] = {
    "no end everywhere": {**S, "pattern": "x"}, "a loop before the end": {**S, "pattern": "^a*b$"},
    "short": {**S, "maxLength": LONG},
    "two at one place": {"anyOf": [{**S, "pattern": "^a"}, {**LONGER, "pattern": "^b"}]},
    "beside a longer value": {"anyOf": [S, {"const": "a" * (N + 1)}]},
    "beside no limit": {"anyOf": [{**S, "pattern": "^a"}, {"type": "string", "pattern": "^b"}]},
    "one name in two objects": {"anyOf": [closed(v=S, x={"const": 1}), closed(v=LONGER, y={"const": 2})]},
    "a kind that comes too late": {"anyOf": [closed(v=S, kind={"const": "a"}), closed(v=LONGER, kind={"const": "b"})]},
    "one place in two arrays": {"anyOf": [{"type": "array", "items": S, "maxItems": 1},
                                          {"type": "array", "items": LONGER, "minItems": 2, "maxItems": 2}]},
    "items that are counted": {"type": "array", "maxItems": 2, "items": {"type": "string"}, "contains": {**S, "pattern": "^a"}},
    "beside a value that holds a longer one": {"anyOf": [closed(a=S), {"const": {"a": "b" * (N + 1)}}]},
    "keys": {"type": "object", "propertyNames": S, "additionalProperties": {"const": 1}},
    "a name and others": {"anyOf": [closed(a=S), {"type": "object", "additionalProperties": LONGER, "maxProperties": 1}]},
}  # fmt: skip


def start(schema: Any, vocabulary: Vocabulary, *, counts: bool) -> Matcher:
    """Returns a matcher with or without limits that are counted beside the grammar."""
    text = json.dumps(schema)
    plain = Plain("json_schema", text, schema=read_schema(text, counts=counts))
    return XGrammarBackend(vocabulary).compile(plain, GrammarSpec("json_schema", text)).start()


def allowed(matcher: Matcher, vocabulary: Vocabulary) -> set[int]:
    mask = np.zeros(-(-vocabulary.size // 32), dtype=np.int32)
    matcher.fill_mask(mask)
    return set(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist())


def is_inside_character(matcher: Any) -> bool:
    return matcher._guard is not None and matcher._guard.owed > 0


def string(draw: random.Random, length: int, chars: list[str] = CHARS) -> str:
    return "".join(draw.choices(chars, k=length))


@pytest.mark.parametrize("name", COUNTABLE)
def test_limits_are_counted_where_only_one_string_may_stand(name: str) -> None:
    assert read_schema(json.dumps(COUNTABLE[name])).has_limits


@pytest.mark.parametrize("name", DISPUTED)
def test_other_limits_stay_in_the_automaton(name: str) -> None:
    assert not read_schema(json.dumps(DISPUTED[name])).has_limits


def walk(matchers: list[Matcher], draw: random.Random, vocabulary: Vocabulary) -> bytes:
    """Draws a text from tokens that the first matcher allows. A string's end is rare, and almost all of a string comes at
    once."""
    data = b""
    while not matchers[0].is_finished and len(data) < 2000:
        if data.endswith(b'"') and draw.random() < 0.8:
            filler = b"a" + string(draw, LONG - draw.randrange(8), WORD).encode()
            if matchers[0].fork().accept_bytes(b"aab" + filler) == len(filler) + 3:
                assert all(matcher.accept_bytes(b"aab" + filler) == len(filler) + 3 for matcher in matchers)
                data += b"aab" + filler
        tokens = [allowed(matcher, vocabulary) for matcher in matchers]
        assert tokens[0], data
        assert matchers[0].num_allowed == len(tokens[0])
        if is_inside_character(matchers[0]):
            assert all(tokens[0] <= others for others in tokens), data  # counted by bytes
        else:
            assert all(tokens[0] == others for others in tokens), data
        assert all(matcher.is_complete == matchers[0].is_complete for matcher in matchers)
        ending = [i for i in tokens[0] if b'"' in vocabulary.pieces[i]]
        token = draw.choice([*(tokens[0] - set(ending) or ending)] if draw.random() < 0.9 else [*tokens[0]])
        if draw.random() < 0.05 and 0 in tokens[0]:
            token = 0
        for matcher in matchers:
            matcher.accept(token)
        if token == 0:
            break
        data += vocabulary.pieces[token]
    return data


@pytest.mark.parametrize("name", COUNTABLE)
@pytest.mark.parametrize("seed", range(4))
def test_tokens_are_those_of_an_automaton_that_counts(name: str, seed: int, vocabulary: Vocabulary) -> None:
    schema, draw = COUNTABLE[name], random.Random(f"{name} {seed}")
    matchers = [start(schema, vocabulary, counts=counts) for counts in (True, False)]
    data = walk(matchers, draw, vocabulary)
    if matchers[0].is_complete:
        assert jsonschema.Draft202012Validator(schema).is_valid(json.loads(data)), data


def any_schema(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    kind = draw.choice(["string"] * 3 + ["values", "either", "array"] + ["object"] * 2) if depth < 3 else "string"
    if kind == "string":
        pattern = draw.choice([{}, {}, {"minLength": 2}, *({"pattern": p} for p in ("^a", "^b", "^[ab]+$"))])
        return {"type": "string", **pattern, **draw.choice([S, S, S, LONGER, {}])}
    if kind == "values":
        return {"enum": draw.sample(["ab", "b" * (N + 2), 1, None, {"a": "a" * 80}, ["b" * 75]], 2)}
    if kind == "either":
        return {"anyOf": [any_schema(draw, depth + 1) for _ in range(2)]}
    if kind == "array":
        return {"type": "array", "items": any_schema(draw, depth + 1), "minItems": 1, "maxItems": 2}
    first = draw.choice([{}, {"kind": {"const": draw.choice("xy")}}])
    return closed(**first, **{name: any_schema(draw, depth + 1) for name in draw.sample("abc", draw.choice([1, 2]))})


@pytest.mark.parametrize("seed", range(150))
def test_tokens_are_those_of_an_automaton_that_counts_whatever_stands_beside(seed: int, vocabulary: Vocabulary) -> None:
    draw = random.Random(seed)
    schema = {"anyOf": [any_schema(draw), any_schema(draw)]}
    walk([start(schema, vocabulary, counts=counts) for counts in (True, False)], draw, vocabulary)


@pytest.mark.parametrize("name", {**COUNTABLE, **DISPUTED})
def test_what_comes_out_satisfies_the_schema(name: str, vocabulary: Vocabulary) -> None:
    schema = {**DISPUTED, **COUNTABLE}[name]
    validator, draw, num_complete = jsonschema.Draft202012Validator(schema), random.Random(name), 0
    compiled = compile_grammar(GrammarSpec("json_schema", json.dumps(schema)), vocabulary)
    assert not compiled.unenforced
    for _ in range(12):
        matcher, data = compiled.start(), b""
        while not matcher.is_finished and len(data) < 1500:
            tokens = allowed(matcher, vocabulary)
            assert tokens, data
            ending = [i for i in tokens if b'"' in vocabulary.pieces[i] or i == 0]
            token = draw.choice([*tokens] if not ending or draw.random() < 0.97 else ending)
            matcher.accept(token)
            data += vocabulary.pieces[token] if token else b""
        if matcher.is_complete:
            num_complete += 1
            assert validator.is_valid(json.loads(data)), data
    assert num_complete > 2


@pytest.mark.parametrize("seed", range(40))
def test_texts_are_taken_byte_by_byte_as_by_an_automaton_that_counts(seed: int, vocabulary: Vocabulary) -> None:
    draw = random.Random(seed)
    matchers = [start(COUNTABLE["two limits"], vocabulary, counts=counts) for counts in (True, False)]
    parts = [string(draw, limit + draw.choice([-1, 0, 0, 0, 1])) for limit in (N, N + 3)]
    data = '{{"a": "{}", "b": "{}"}}'.format(*parts).encode()
    if draw.random() < 0.3:
        at = draw.randrange(len(data))
        data = data[:at] + draw.choice([b"\x01", b"\\", b'"', b"\\ud800", b"\xc3"]) + data[at:]
    taken = [matcher.accept_bytes(data) for matcher in matchers]
    assert taken[0] == taken[1]
    assert matchers[0].is_complete == matchers[1].is_complete == (taken[0] == len(data))


@pytest.mark.parametrize("char", CHARS)
def test_every_spelling_of_a_character_counts_once(char: str, vocabulary: Vocabulary) -> None:
    for length, fits in ((N, True), (N + 1, False)):
        data = f'"{char * length}"'.encode()
        matcher = start(S, vocabulary, counts=True)
        assert (matcher.accept_bytes(data) == len(data)) == fits
        assert matcher.is_complete == fits


def test_a_full_string_can_only_end(vocabulary: Vocabulary) -> None:
    matcher = start(closed(a=S, b={"type": "null"}), vocabulary, counts=True)
    matcher.accept_bytes(b'{"a": "' + b"x" * (N - 1))
    assert matcher.forced() == b""
    fork = matcher.fork()
    matcher.accept_bytes(b"x")
    assert matcher.forced() == b'", "b": null}'
    assert all(vocabulary.pieces[i].startswith(b'"') for i in allowed(matcher, vocabulary))
    before = allowed(matcher, vocabulary)
    with pytest.raises(TokenRejected, match=f"{len(before)} others"):
        matcher.accept(vocabulary.pieces.index(b"a"))
    assert allowed(matcher, vocabulary) == before
    assert matcher.accept_bytes(b"x") == 0
    fork.accept(vocabulary.pieces.index(b"a"))  # a copy moves independently
    with pytest.raises(TokenRejected):
        fork.accept(vocabulary.pieces.index(b"a"))
    assert fork.accept_bytes(end := fork.forced()) == len(end)
    assert fork.is_complete
    assert fork.is_finished
    assert not matcher.is_complete


def test_a_character_that_tokens_cut_is_finished_in_a_full_string(vocabulary: Vocabulary) -> None:
    for begun, end in (
        (b"\xe6", b"\xbc\xa2"),
        (b"\\", b"n"),
        (b"\\u00", b"e9"),
        (b"\\ud83d", b"\\ude00"),
        (b"\\ud83d\\", b"ude00"),
    ):
        matcher = start(S, vocabulary, counts=True)
        assert matcher.accept_bytes(b'"' + b"x" * (N - 1) + begun) == N + len(begun)
        exact = start(S, vocabulary, counts=False)
        exact.accept_bytes(b'"' + b"x" * (N - 1) + begun)
        for byte in end:
            token, tokens = vocabulary.pieces.index(bytes([byte])), allowed(matcher, vocabulary)
            assert token in tokens
            assert tokens <= allowed(exact, vocabulary)
            matcher.accept(token)
            exact.accept(token)
        assert matcher.forced() == b'"'


def test_there_is_no_limit_to_limits(vocabulary: Vocabulary) -> None:
    matcher = start({"type": "string", "maxLength": 20_000}, vocabulary, counts=True)
    assert matcher.unenforced == ()
    assert matcher.accept_bytes(b'"' + b"x" * 20_001) == 20_001


def test_a_child_says_that_strings_are_counted(vocabulary: Vocabulary) -> None:
    backend, text = XGrammarBackend(vocabulary), json.dumps(S)
    data = compiler(backend.about())(Plain("json_schema", text, schema=read_schema(text)), GrammarSpec("json_schema", text))
    assert data[:1] == COUNTED
    assert backend.load(data, ()).start().accept_bytes(b'"' + b"x" * 200) == N + 1


@pytest.mark.process
def test_outlines_counts_in_its_automaton(vocabulary: Vocabulary) -> None:
    compiled = compile_grammar(GrammarSpec("json_schema", json.dumps({**S, "pattern": "^[ab]+$"})), vocabulary, "outlines")
    for length in (N, N + 1):
        matcher, data = compiled.start(), f'"{string(random.Random(length), length, WORD)}"'.encode()
        assert (matcher.accept_bytes(data) == len(data) and matcher.is_complete) == (length == N)


def test_tokens_of_a_real_vocabulary(smollm2: str) -> None:
    from workbench.text.tokenizer import load_tokenizer

    hf = load_tokenizer(smollm2).hf
    vocabulary = Vocabulary(hf, len(hf), frozenset({0}))
    schema = closed(a=S, b={**LONGER, "pattern": "^[a-z ]*$"})
    draw = random.Random(0)
    for seed in range(2):
        matchers = [start(schema, vocabulary, counts=counts) for counts in (True, False)]
        begin = f'{{"a": "{string(draw, N - 4 - seed)}'.encode()
        assert all(matcher.accept_bytes(begin) == len(begin) for matcher in matchers)
        data = begin
        for _ in range(40):
            tokens = [allowed(matcher, vocabulary) for matcher in matchers]
            if is_inside_character(matchers[0]):
                assert set() < tokens[0] <= tokens[1]
            else:
                assert tokens[0] == tokens[1], data
            if matchers[0].is_finished:
                break
            token = draw.choice(sorted(tokens[0]))
            data += vocabulary.pieces[token]
            for matcher in matchers:
                matcher.accept(token)
