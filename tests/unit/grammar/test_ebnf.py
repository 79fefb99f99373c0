"""GGML BNF means what it means to llama.cpp: whole characters, and no words of the backend's own."""

from __future__ import annotations

import re

import pytest

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar import Vocabulary, compile_grammar
from workbench.types import GrammarSpec

CHARS = [
    "\0",
    "\n",
    "!",
    '"',
    "-",
    "A",
    "]",
    "^",
    "a",
    "b",
    "z",
    "\\",
    "é",
    "ÿ",
    "\ud7ff",
    "\ue000",
    "漢",
    "\uffff",
    "😀",
    "\U0010ffff",
]
HALVES = [b"\xed\xa0\x80", b"\xed\xbf\xbf"]
CLASSES = {
    r"[^a]": "[^a]", r"[^a-]": r"[^a\-]", r"[a-]": r"[a\-]", r"[-a]": r"[\-a]", r"[^\]\\]": r"[^\]\\]", r"[a-cz]": "[a-cz]",
    r"[\x00-\U0010FFFF]": r"[\x00-\U0010FFFF]", r"[\u0100-\uffff]": r"[\u0100-\uffff]", r"[\ud800-\uffff!]": r"[\ue000-\uffff!]",
    r"[a-\ud900]": r"[a-\ud7ff]", r"[\ud800-\udfff]|[b]": "b", ".": r"[\x00-\U0010FFFF]", r"[é-漢]": "[é-漢]",
    r"[^\n\"]": r'[^\n"]',
}  # fmt: skip


@pytest.mark.parametrize("source", CLASSES)
def test_a_class_takes_its_characters_and_no_halves_of_any(source: str, vocabulary: Vocabulary) -> None:
    grammar = compile_grammar(GrammarSpec("ebnf", f"root ::= {source}"), vocabulary)
    for char in CHARS:
        fits = grammar.start().accept_bytes(char.encode()) == len(char.encode())
        assert fits == bool(re.fullmatch(CLASSES[source], char)), char
    for half in HALVES:
        assert grammar.start().accept_bytes(half) < len(half)


@pytest.mark.parametrize(
    "grammar, named",
    [
        ('root ::= "a"\n  | Token(3)', r"line 2: Token\("),
        ("root ::= ExcludeToken (3)", r"line 1: ExcludeToken\("),
        ('root ::= TagDispatch(("a", b))\nb ::= "c"', r"line 1: TagDispatch\("),
        ('root ::= Regex("a{2}")', r"line 1: Regex\("),
        ('root ::= a "c"\na ::= "x" (="b")', r"line 2: looking ahead"),
        (r'root ::= "\ud83d\ude00"', "line 1: half a character"),
    ],
)
def test_what_is_not_of_this_dialect_is_named_with_its_line(grammar: str, named: str, vocabulary: Vocabulary) -> None:
    with pytest.raises(NotSupported, match=f"^ebnf, {named}"):
        compile_grammar(GrammarSpec("ebnf", grammar), vocabulary)


@pytest.mark.parametrize(
    "grammar, text",
    [
        ('root ::= "Token(3)" # Token(4), (="a")\n', "Token(3)"), ('root ::= a("b")\na ::= "x" [(=]', "x=b"),
        ('root ::= "[^a]" "\\"." .', '[^a]".z'), ('root ::= "a\0b"', "a\0b"), ("root ::= a-b.c\na-b.c ::= [x-y]", "y"),
        ("root ::= .{2}", "é漢"), (r'root ::= "\x41b" [\x42c] "\\x41"', r"Abc\x41"), ('root ::= ("a" .)+', "abac"),
    ],
)  # fmt: skip
def test_the_same_in_texts_comments_and_names_is_left_alone(grammar: str, text: str, vocabulary: Vocabulary) -> None:
    matcher = compile_grammar(GrammarSpec("ebnf", grammar), vocabulary).start()
    assert matcher.accept_bytes(text.encode()) == len(text.encode())
    assert matcher.is_complete


@pytest.mark.parametrize(
    "grammar, named",
    [
        ("root ::= é", "Unexpected character"),
        ('\ufeffroot ::= "a"', "Unexpected character"),
        ('root ::= "a"{0,4294967297}', "at most 9 digits"),
    ],
)
def test_an_error_says_what_is_wrong(grammar: str, named: str, vocabulary: Vocabulary) -> None:
    with pytest.raises(InvalidRequest, match=named):
        compile_grammar(GrammarSpec("ebnf", grammar), vocabulary)
