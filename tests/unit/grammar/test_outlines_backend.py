"""The backend outlines, compared with `re`, `jsonschema`, a scan with the `regex` package, and xgrammar."""

from __future__ import annotations

import json
import os
import random
import re
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import regex

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar import (
    GrammarCompiler,
    Limits,
    Matcher,
    Options,
    TokenRejected,
    Vocabulary,
    compile_grammar,
    outlines_compile,
)
from workbench.grammar.automaton import Automaton
from workbench.grammar.outlines_compile import compile_regex
from workbench.grammar.regex import plain_regex
from workbench.types import GrammarSpec

END, START = 0, 1
PATTERNS = [
    r"((25[0-5]|2[0-4]\d|[01]?\d\d?)\.){3}(25[0-5]|2[0-4]\d|[01]?\d\d?)", r"a?b{1,2}", r"(ab|ba){0,2}a?", r"aab|ab|b",
    r"[a-z]+@[a-z]+\.(com|org)", r"(a|b)*abb", r"x{2,}y?", r'"[^"]*"', r"(true|false|null)?", r"[0-9]{4}-[0-9]{2}", r"\w{2,4}",
    "", r"(a*)*b", r"a|", r"[^ab]{2}", r"\{\}|\[\]", r".{3}",
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def own_disk_cache(tmp_path_factory):
    """Empty WORKBENCH_HOME: files of an earlier version must not decide a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def outlines(vocabulary: Vocabulary, kind: str, text: str) -> Matcher:
    return compile_grammar(GrammarSpec(kind, text), vocabulary, "outlines").start()


def allowed(matcher: Matcher, vocabulary: Vocabulary) -> set[int]:
    mask = np.full(-(-vocabulary.size // 32), -1, dtype=np.int32)
    matcher.fill_mask(mask)
    return set(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist())


@pytest.mark.parametrize("pattern", PATTERNS)
def test_masks_equal_those_of_xgrammar_and_a_scan_of_the_vocabulary(pattern: str, vocabulary: Vocabulary) -> None:
    texts = {i: vocabulary.hf.decode([i]) for i in range(len(vocabulary.hf)) if i not in (END, START)}
    ascii_only = {i: text for i, text in texts.items() if text.isascii()}
    whole = regex.compile(pattern, flags=regex.ASCII)
    draw = random.Random(pattern)
    for _ in range(6):
        ours, theirs = outlines(vocabulary, "regex", pattern), compile_grammar(GrammarSpec("regex", pattern), vocabulary).start()
        text = ""
        for _ in range(12):
            may = allowed(ours, vocabulary)
            assert may == allowed(theirs, vocabulary)
            assert ours.num_allowed == len(may)
            scan = {i for i, token in ascii_only.items() if whole.fullmatch(text + token, partial=True)}
            assert may & ascii_only.keys() == scan
            assert (END in may) == ours.is_complete == bool(re.fullmatch(pattern, text, re.ASCII))
            choices = sorted(may & {*scan, END})
            if not choices:
                break
            token = draw.choice(choices)
            ours.accept(token)
            theirs.accept(token)
            assert ours.is_finished == theirs.is_finished
            if token == END:
                assert allowed(ours, vocabulary) == set()
                break
            text += texts[token]


@pytest.mark.parametrize("pattern", [r"abba(ab)?", r"(ab){2}b?", r"(abb|abaa)a", "[éè]x", "漢字", "a{3,5}"])
def test_forced_text_and_bytes_are_those_of_xgrammar(pattern: str, vocabulary: Vocabulary) -> None:
    for text in ("", "a", "ab", "abb", "é", "漢", "aaa"):
        for cut in range(len(text.encode()) + 1):
            ours, theirs = (
                outlines(vocabulary, "regex", pattern),
                compile_grammar(GrammarSpec("regex", pattern), vocabulary).start(),
            )
            data = text.encode()[:cut]
            assert ours.accept_bytes(data) == theirs.accept_bytes(data)
            if cut == len(text.encode()):  # xgrammar forces whole characters only
                assert ours.forced().decode("utf-8", "ignore") == theirs.forced().decode("utf-8", "ignore")
            assert ours.is_complete == theirs.is_complete


def test_a_rejected_token_raises_and_forks_move_alone(vocabulary: Vocabulary) -> None:
    matcher = outlines(vocabulary, "regex", "aab")
    before = allowed(matcher, vocabulary)
    for token in (END, START, -1, vocabulary.size - 1, vocabulary.hf.convert_tokens_to_ids("b")):
        with pytest.raises(TokenRejected, match=rf"{len(before)} others are"):
            matcher.accept(token)
        assert allowed(matcher, vocabulary) == before
    fork = matcher.fork()
    fork.accept(vocabulary.hf.convert_tokens_to_ids("aab"))
    assert fork.is_complete
    assert allowed(matcher, vocabulary) == before


def test_stop_tokens_are_allowed_only_where_the_text_may_end(vocabulary: Vocabulary) -> None:
    a, b, c = vocabulary.hf.convert_tokens_to_ids(["a", "b", "c"])
    matcher = compile_grammar(GrammarSpec("regex", "a+b?"), vocabulary, "outlines").start({c, START, vocabulary.size + 5})
    assert not {END, START, c} & allowed(matcher, vocabulary)
    matcher.accept(a)
    assert {c, START, a, b} <= allowed(matcher, vocabulary)
    assert not matcher.is_finished
    matcher.accept(c)
    assert matcher.is_finished
    assert matcher.num_allowed == 0
    bare = compile_grammar(GrammarSpec("regex", "a+b?"), vocabulary, "outlines").start(())
    for token, finished in ((a, False), (b, True)):
        bare.accept(token)
        assert bare.is_finished == finished


S, I, A, O = ({"type": kind} for kind in ("string", "integer", "array", "object"))  # noqa: E741
SCHEMAS = {
    "record": {**O, "properties": {"a": I, "b": {**S, "maxLength": 3}, "c": {"type": "boolean"}}, "required": ["a", "c"]},
    "optional": {**O, "properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}}},
    "last required": {**O, "properties": {"a": {"const": 1}, "b": {"const": 2}}, "required": ["b"]},
    "list": {**A, "items": {"enum": [1, "x", None]}, "minItems": 1, "maxItems": 3}, "empty": {**A, "maxItems": 0},
    "any length": {**A, "items": {"const": 1}}, "exactly": {**A, "items": {"const": 1}, "minItems": 2, "maxItems": 2},
    "tuple": {**A, "prefixItems": [I, {"enum": ["x"]}], "items": False, "minItems": 2},
    "tuple and rest": {**A, "prefixItems": [{"const": 1}], "items": {"const": 2}, "minItems": 2, "maxItems": 4},
    "reference": {"$defs": {"x": {"enum": ["p", "q"]}}, **A, "items": {"$ref": "#/$defs/x"}, "minItems": 1, "maxItems": 2},
    "any of": {"anyOf": [{"const": {"a": [1, {"b": "é"}]}}, {"type": "null"}]}, "types": {"type": ["integer", "null", "boolean"]},
    "number": {"type": "number"}, "pattern": {**S, "pattern": "^[ab]+c$"}, "lengths": {**S, "minLength": 2, "maxLength": 3},
    "date": {**S, "format": "date"}, "time": {**S, "format": "time"}, "date-time": {**S, "format": "date-time"},
    "uuid": {**S, "format": "uuid"}, "ipv4": {**S, "format": "ipv4"}, "string": S,
    "nested": {**O, "properties": {"o": {**O, "properties": {"x": {"const": 1}}, "required": ["x"]}}, "required": ["o"]},
}  # fmt: skip


def generate(matcher: Matcher, vocabulary: Vocabulary, draw: random.Random, steps: int = 150) -> str | None:
    ids: list[int] = []
    closing = set(vocabulary.hf.convert_tokens_to_ids(['"', "}", "]", '"}', "</s>"]))
    for _ in range(steps):
        may = allowed(matcher, vocabulary)
        token = draw.choice(sorted(may & closing if may & closing and draw.random() < 0.4 else may))
        matcher.accept(token)
        if token == END:
            return str(vocabulary.hf.decode(ids))
        ids.append(token)
    return None


@pytest.mark.process
@pytest.mark.parametrize("name", SCHEMAS)
def test_what_comes_out_satisfies_the_schema(name: str, vocabulary: Vocabulary) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMAS[name], format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    spec, draw = GrammarSpec("json_schema", json.dumps(SCHEMAS[name])), random.Random(name)
    texts = [generate(outlines(vocabulary, *(spec.kind, spec.text)), vocabulary, draw) for _ in range(30)]
    ended = {text for text in texts if text is not None}
    assert len([text for text in texts if text is not None]) >= 10
    for text in ended:
        assert validator.is_valid(json.loads(text)), text
    theirs = compile_grammar(spec, vocabulary)
    if name not in ("date-time", "number", "string", "record", "any of"):  # exponents, escapes, spaces inside constants differ
        for text in ended:
            matcher = theirs.start()
            assert matcher.accept_bytes(text.encode()) == len(text.encode()), f"the other backend has it as well: {text}"


def test_optional_properties_come_in_every_combination(vocabulary: Vocabulary) -> None:
    spec = ("json_schema", json.dumps(SCHEMAS["optional"]))
    texts = {generate(outlines(vocabulary, *spec), vocabulary, random.Random(i)) for i in range(300)}
    pairs = ['"a": 1', '"b": 2', '"c": 3']
    assert texts == {f"{{{', '.join(pair for i, pair in enumerate(pairs) if mask >> i & 1)}}}" for mask in range(8)}


@pytest.mark.parametrize(
    "kind, text, named",
    [
        ("ebnf", 'root ::= "a"', "ebnf: .*outlines"),
        ("json_schema", "{}", "any JSON value"),
        ("json_object", "true", "any JSON value"),
        ("json_schema", '{"type": "array"}', "any JSON value"),
        ("json_schema", '{"type": "string", "maxLength": 500}', "a text of 501 states"),
        (
            "json_schema",
            '{"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}',
            "hold itself",
        ),
    ],
)
def test_what_is_not_regular_is_refused_at_once_and_names_the_other_backend(
    kind: str, text: str, named: str, vocabulary: Vocabulary
) -> None:
    coming = GrammarCompiler(vocabulary, Options("outlines")).start(GrammarSpec(kind, text))
    assert coming.done()
    with pytest.raises(NotSupported, match=named) as caught:
        coming.result()
    assert "xgrammar" in caught.value.hint


@pytest.mark.process
def test_white_space_is_as_the_pattern_says(vocabulary: Vocabulary) -> None:
    schema = json.dumps(
        {**O, "properties": {"a": {"const": 1}, "b": {**A, "items": {"const": 2}, "maxItems": 2}}, "required": ["a"]}
    )
    compiler = GrammarCompiler(vocabulary, Options("outlines", whitespace_pattern=r"[\n ]{0,2}"))
    compiled = compiler.get(GrammarSpec("json_schema", schema))
    for text, fits in {'{"a":1}': True, '{\n "a" : 1\n}': True, '{   "a": 1}': False, '{\n"a":1,\n"b":[2,\n2]}': True}.items():
        matcher = compiled.start()
        assert (matcher.accept_bytes(text.encode()) == len(text) and matcher.is_complete) == fits
    compiler.close()


def test_automata_are_kept_on_disk_and_a_broken_file_is_made_again(vocabulary, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    spec = GrammarSpec("regex", "[a-c]{2,4}")
    GrammarCompiler(vocabulary, Options("outlines", disk_cache=False)).get(spec)
    assert not list(tmp_path.rglob("*.automaton"))
    compiled = GrammarCompiler(vocabulary, Options("outlines")).get(spec)
    (path,) = tmp_path.rglob("*.automaton")
    data = path.read_bytes()
    monkeypatch.setattr("workbench.grammar.outlines_compile._build", None)
    assert GrammarCompiler(vocabulary, Options("outlines")).get(spec).start().num_allowed == compiled.start().num_allowed
    monkeypatch.undo()
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    for broken in (b"", b"xyz", data[:-3]):
        path.write_bytes(broken)
        GrammarCompiler(vocabulary, Options("outlines")).get(spec)
        assert path.read_bytes() == data
    again = Automaton.from_bytes(data)
    assert again.after(0, b"abcabc")[1] == 4


@pytest.mark.heavy
@pytest.mark.process
@pytest.mark.parametrize("pattern", [".{1,1000}", "(a|b)*a(a|b){200}", "((a{1,1000}){1,1000}){1,1000}", "a{1,100000}"])
def test_a_pathological_regex_works_or_names_the_limit(pattern: str, vocabulary: Vocabulary, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    compiler = GrammarCompiler(vocabulary, Options("outlines", limits=Limits(1, 4.0, 600)))
    started = time.monotonic()
    try:
        coming = compiler.start(GrammarSpec("regex", pattern))
        if (error := coming.exception()) is None:
            assert coming.result().num_allowed > 0
        else:
            assert isinstance(error, InvalidRequest)
            assert re.search("grammar_compile|can be compiled|states", str(error))
    finally:
        compiler.close()
    assert time.monotonic() - started < 60


def test_automata_on_disk_stay_below_a_size_and_the_least_recently_used_leave(tmp_path: Path, monkeypatch) -> None:
    patterns = [f"[a-z]{{{n}}}x" for n in (10, 11, 12, 13)]

    def made(pattern: str) -> set[Path]:
        compile_regex(plain_regex(pattern), GrammarSpec("regex", pattern), str(tmp_path))
        return set(tmp_path.glob("*.automaton"))

    first = made(patterns[0])
    (second,) = made(patterns[1]) - first
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    for age, path in enumerate([*first, second]):
        os.utime(path, ns=(age * 10**9, age * 10**9))
    monkeypatch.setattr(outlines_compile, "DISK_BYTES", 2 * size)
    assert made(patterns[0]) == {*first, second}, "read, and so used last"
    monkeypatch.setattr(outlines_compile, "DISK_BYTES", size + size // 4)
    left = made(patterns[2])
    assert second not in left
    assert first < left
    assert list(tmp_path.iterdir()) == list(tmp_path.glob("*.automaton"))


def test_the_account_of_what_is_kept_follows_the_masks_that_are_found(vocabulary: Vocabulary) -> None:
    compiler = GrammarCompiler(vocabulary, Options("outlines", disk_cache=False))
    specs = [GrammarSpec("regex", "[ab]{5}"), GrammarSpec("regex", "[cd]{5}")]
    grammars = [compiler.get(spec) for spec in specs]
    before = compiler.num_bytes
    matcher = grammars[0].start()
    for byte in b"abab":
        assert matcher.num_allowed
        matcher.accept_bytes(bytes([byte]))
    compiler.get(specs[0])
    assert compiler.num_bytes == sum(grammar.num_bytes for grammar in grammars) > before
