"""Further kinds of constraints: choices, any JSON, white space, structural tags, grammars in the style of Lark."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import lark
import numpy as np
import pytest

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar import Matcher, Vocabulary, compile_grammar
from workbench.grammar.structural_tag import FIELDS, OPTIONAL, read_structural_tag
from workbench.types import GrammarSpec, SamplingParams

END = 0


def start(vocabulary: Vocabulary, kind: str, text: str, **more) -> Matcher:
    return compile_grammar(GrammarSpec(kind, text, **more), vocabulary).start()


def fits(matcher: Matcher, text: str) -> bool:
    return matcher.accept_bytes(text.encode()) == len(text.encode()) and matcher.is_complete


def generate(matcher: Matcher, vocabulary: Vocabulary, draw: random.Random, steps: int = 60) -> str | None:
    mask, ids = np.zeros(-(-vocabulary.size // 32), dtype=np.int32), []
    for _ in range(steps):
        matcher.fill_mask(mask)
        may = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist()
        token = END if END in may and draw.random() < 0.3 else draw.choice(may)
        matcher.accept(token)
        if token == END:
            return str(vocabulary.hf.decode(ids))
        ids.append(token)
    return None


@pytest.mark.parametrize("backend", ["xgrammar", "outlines"])
def test_choices_are_texts_and_not_patterns(backend: str, vocabulary: Vocabulary) -> None:
    choices = ["ab", "a", "a.b", "(c|d)*", "é漢", "\\n", "line\nbreak", '"q"', "a b"]
    compiled = compile_grammar(SamplingParams.make({"choices": choices}).constraint, vocabulary, backend)
    for text in [*choices, "aab", "axb", "c", "abc", "", "b"]:
        assert fits(compiled.start(), text) == (text in choices), text
    draw = random.Random(0)
    assert {generate(compiled.start(), vocabulary, draw) for _ in range(300)} == set(choices)


def test_any_object_and_any_value(vocabulary: Vocabulary) -> None:
    objects, values = SamplingParams(json_object=True).constraint, SamplingParams.make({"json_schema": {}}).constraint
    for text in ("{}", '{"a": 1}', '{"a": {"b": [1, null]}, "c": "d"}'):
        assert fits(compile_grammar(objects, vocabulary).start(), text)
        assert fits(compile_grammar(values, vocabulary).start(), text)
    for text in ("[]", "1", '"a"', "null"):
        assert not fits(compile_grammar(objects, vocabulary).start(), text)
        assert fits(compile_grammar(values, vocabulary).start(), text)


@pytest.mark.parametrize("most", [0, 1, 3])
def test_white_space_is_bounded(most: int, vocabulary: Vocabulary) -> None:
    schema = json.dumps({"type": "array", "items": {"const": 1}, "minItems": 2, "maxItems": 2})
    spec = SamplingParams(json_schema=schema, max_whitespace=most).constraint
    assert spec.max_whitespace == most
    for count in range(6):
        space = "\n" * count
        assert fits(compile_grammar(spec, vocabulary).start(), f"[{space}1,{space}1]") == (most > 0 and count <= most)
    assert fits(compile_grammar(spec, vocabulary).start(), "[1, 1]")


LARK = {
    "rules": 'start: a b?\na: "x" | "y" a\nb: ("1" | "2")+',
    "terminals": 'start: NAME ("," NAME)*\nNAME: /[ab]{1,2}/ | WORD2\nWORD2: "w" "x"~2..3',
    "optional": '?start: [sign] DIGITS ["." DIGITS] // a number\nsign: "+" | "-"\nDIGITS: /[0-9]+/',
    "imports": "start: SIGNED_INT | ESCAPED_STRING | CNAME\n%import common.SIGNED_INT\n%import common (ESCAPED_STRING, CNAME)",
    "ignored": 'start: "a" "b" INT\n%import common.INT\n%import common.WS\n%ignore WS',
    "ignored twice": 'start: ("a" "," )* "b"\n%ignore " "\n%ignore /#x*/',
    "priorities": 'start: A | b\nA.2: "a" "b"\nb.-1: "ab" C\nC: "c"',
    "python regex": r"start: /\d\w[^\s\w]/ X" + '\nX: /(?s:.)$/',
    "ignore case": 'start: "ab"i "c" /x|y[0-9]/i',
    "escapes": 'start: "\\n" "\\x41" "\\"" "\\u00e9" /\\// "//"',
    "lines": 'start: ("a" // first\n  | "b")+\n  | "c"\n',
    "aliases": 'start: "a" -> one | x\n!x: "b" [["c"] "d"]',
    "range": 'start: "a".."f" "0".."9"',
    "inlined": 'start: _x\n_x: "a" _x?',
}  # fmt: skip


@pytest.mark.parametrize("name", LARK)
def test_texts_of_a_lark_grammar_are_parsed_by_lark(name: str, vocabulary: Vocabulary) -> None:
    judge = lark.Lark(LARK[name], parser="earley", lexer="dynamic_complete")
    draw = random.Random(name)
    texts = [generate(start(vocabulary, "grammar", LARK[name]), vocabulary, draw) for _ in range(40)]
    ended = [text for text in texts if text is not None]
    assert len(ended) >= 10
    for text in ended:
        judge.parse(text)


@pytest.mark.parametrize(
    "name, text",
    [
        ("rules", "yyx12"), ("terminals", "ab,wxx,b"), ("optional", "-1.25"), ("imports", '"a b"'), ("ignored", "a  b\n7"),
        ("priorities", "abc"), ("escapes", '\nA"é///'), ("lines", "abba"), ("aliases", "bcd"), ("range", "c7"),
        ("ignore case", "aBcY1"),
    ],
)  # fmt: skip
def test_what_lark_parses_can_be_generated(name: str, text: str, vocabulary: Vocabulary) -> None:
    lark.Lark(LARK[name]).parse(text)
    assert fits(start(vocabulary, "grammar", LARK[name]), text)


@pytest.mark.parametrize(
    "grammar, named",
    [
        ('start: "if" _NL _INDENT "x" _DEDENT\n_NL: /\\n/', r"line 1: _INDENT \(indentation\)"),
        ('start: "x"\n%declare _INDENT', "line 2: the directive %declare"),
        ('start: _sep{"a", ","}\n_sep{x, s}: x (s x)*', "line 1: the template _sep"),
        ('start: "a"\n%extend start: "b"', "line 2: the directive %extend"),
        ("start: %json {}", "line 1: the directive %json"),
        ("start: <|eos|>", r"line 1: <\|eos\|>"),
        ("start: @other", "line 1: @other"),
        ("start: PYTHON\n%import python.PYTHON", "line 2: '%import python.PYTHON'"),
        ("start: X\n%import common.X", "line 2: common.X"),
        ("start: X\nX: /(?=a)a/", "line 2: lookahead"),
    ],
)
def test_what_a_lark_grammar_cannot_have_is_named_with_its_line(grammar: str, named: str, vocabulary: Vocabulary) -> None:
    with pytest.raises(NotSupported, match=f"grammar, {named}"):
        start(vocabulary, "grammar", grammar)


@pytest.mark.parametrize("grammar", ['foo: "a"', "start: undefined", 'start: "a', "start: (", "", 'start: ""'])
def test_a_wrong_lark_grammar_is_an_invalid_request(grammar: str, vocabulary: Vocabulary) -> None:
    with pytest.raises(InvalidRequest, match=r"^grammar"):
        start(vocabulary, "grammar", grammar)


def test_a_grammar_with_ggml_rules_is_ebnf(vocabulary: Vocabulary) -> None:
    matcher = start(vocabulary, "grammar", 'root ::= "a" [b-c]+')
    assert fits(matcher, "abcb")


CALL = {
    "type": "object",
    "properties": {"city": {"enum": ["a", "b"]}, "n": {"type": "integer", "format": "int32"}},
    "required": ["city"],
}
OLD = {"structures": [{"begin": "<f>", "schema": CALL, "end": "</f>"}], "triggers": ["<f"]}
NEW = {
    "type": "structural_tag",
    "format": {
        "type": "triggered_tags", "triggers": ["<f", "<r"],
        "tags": [
            {"type": "tag", "begin": "<f>", "content": {"type": "json_schema", "json_schema": CALL}, "end": "</f>"},
            {"begin": "<r>", "content": {"type": "regex", "pattern": r"\d{2}"}, "end": ["</r>", "<end>"]},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("tag", [OLD, NEW], ids=["structures", "format"])
def test_text_is_free_until_a_trigger_and_constrained_after_it(tag, vocabulary: Vocabulary) -> None:
    spec = SamplingParams.make({"structural_tag": tag}).constraint
    compiled = compile_grammar(spec, vocabulary)
    for text, is_call in {
        '<f>{"city": "a"}</f>': True, 'free text <f>{"city": "b", "n": 3}</f> and more': True, "<f>text": False,
        '<f>{"city": "c"}</f>': False, '<f>{"city":"a"}</f>': False, '<f>{"n": 3}</f>': False, "<fx": False,
    }.items():  # fmt: skip
        assert fits(compiled.start(), text) == is_call, text
    assert fits(compiled.start(), "no call at all")
    assert fits(compiled.start(), "a <r>42<end>")
    assert fits(compiled.start(), "a <r>4<end>") == (tag is OLD), "only there it is free text"
    assert compiled.unenforced[0].endswith('n: format "int32"')


@pytest.mark.parametrize(
    "tag, named",
    [
        ({"format": {"type": "token", "token": 5}}, "a format of type 'token'"),
        ({"format": {"type": "json_schema", "json_schema": {}, "style": "qwen_xml"}}, "'style' of json_schema"),
        ({"format": {"type": "json_schema", "json_schema": {"$ref": "x"}}}, "reference 'x'"),
        ({"format": {"type": "tag", "begin": "a", "content": {"type": "regex", "pattern": "(?=a)"}, "end": "b"}}, "lookahead"),
        ({"format": {"type": "any_text", "max_tokens": 3}}, "'max_tokens' of any_text"),
    ],
)
def test_what_a_structural_tag_cannot_have_is_named(tag, named: str, vocabulary: Vocabulary) -> None:
    with pytest.raises(NotSupported, match=named):
        start(vocabulary, "structural_tag", json.dumps(tag))


@pytest.mark.parametrize(
    "text",
    ["[]", "{", "{}", '{"format": 3}', '{"format": {"type": "tag", "begin": "a"}}', '{"structures": [{}], "triggers": []}'],
)
def test_what_is_no_structural_tag_is_an_invalid_request(text: str, vocabulary: Vocabulary) -> None:
    with pytest.raises(InvalidRequest, match="structural_tag"):
        start(vocabulary, "structural_tag", text)


@pytest.mark.parametrize("value", [True, 5, 1.5, None, [], ["a"], [5], {}, {"type": []}, "a"])
def test_a_value_of_a_wrong_type_is_named_with_its_place(value: Any) -> None:
    """Checks each field of each format; some valid values are left to the compiler to check."""
    messages = []
    for kind, fields in FIELDS.items():
        for name in fields:
            tag = {"format": {"type": kind, **dict.fromkeys(fields.keys() - OPTIONAL, value), name: value}}
            try:
                read_structural_tag(json.dumps(tag))
            except (InvalidRequest, NotSupported) as error:
                messages.append(error.message)
    assert len(messages) > 10
    for message in messages:
        assert message.startswith("structural_tag.format")
        assert not re.search(r"'(bool|int|float|str|list|dict|NoneType)'", message)
    for old in ({"structures": value, "triggers": []}, {"structures": [value], "triggers": []}, {"format": value}):
        if old != {"structures": [], "triggers": []}:
            with pytest.raises(InvalidRequest, match=r"^structural_tag\."):
                read_structural_tag(json.dumps(old))


def test_nothing_of_a_compiler_reaches_standard_error(capfd, vocabulary: Vocabulary) -> None:
    schema = '{"type": "integer", "minimum": 0, "multipleOf": 5}'
    matcher = compile_grammar(GrammarSpec("json_schema", schema), vocabulary).start()
    assert fits(matcher, "35")
    assert not fits(start(vocabulary, "json_schema", schema), "37")
    assert capfd.readouterr().err == ""


def test_two_constraints_are_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="json_object and choices are given together: a request has one constraint"):
        SamplingParams.make({"json_object": True, "choices": ["a"]})
    with pytest.raises(InvalidRequest, match="regex and grammar"):
        SamplingParams.make({"regex": "a", "grammar": 'start: "a"'})
    assert SamplingParams.make({"json_object": False, "regex": "a"}).constraint == GrammarSpec("regex", "a")
    for wrong in ("ab", [], [""], [1]):
        with pytest.raises(InvalidRequest, match="choices"):
            SamplingParams.make({"choices": wrong})
