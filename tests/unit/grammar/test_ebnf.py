"""GGML BNF has the meaning that llama.cpp gives it: whole characters, and no keywords of the backend."""

from __future__ import annotations

import random
import re

import pytest

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar import Vocabulary, compile_grammar
from workbench.types import GrammarSpec, is_ggml_bnf
from workbench.why.source_tree import Leaf, Seq, SourceTree, read_ebnf
from workbench.why.token.earley import Chart

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
END = "\U0010ffff"
"""Character for the end: no grammar below accepts it."""
MORE_CHARS = {*CHARS, *"cdefux12_ ,()[]|/\t\r^é"}
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
        ('root ::= "a"\n  <think> "b"', "line 2: the token <think>"),
        ("root ::= !<[1000]>*", r"line 1: the token !<\[1000\]>"),
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


CONSTRUCTS = {
    "empty first": 'root ::= "[" gap "]"\ngap ::= | " " | "\\n" [ \\t]{0,3}  # as little as possible\n',
    "empty last": 'root ::= "a" ("b" | ) "c" |',
    "empty between": 'root ::= ( | "a" || "b")+ "c"',
    "empty before a rule": 'root ::= x "c"\nx ::= "a" |\n\n# none\ny-1 ::= "b"',
    "an empty group": 'root ::= "a" () "b" ( ) ( # nothing\n)',
    "nested": 'root ::= item ("," item)*\nitem ::= [a-c]+ | "(" root? ")" | "|" | ")("',
    "counts": 'root ::= "a"{2} "b"{1,} [cd]{0,2} ("e" "f"){ 1, 2 }',
    "names": 'root ::= 1st dataType UPPER-CASE\n1st ::= "1"\ndataType ::= rule_2?\nrule_2 ::= "2"\nUPPER-CASE ::= "_" | 1st',
    "lines": 'root  ::=  (\n  "a" b # first\n\n  [c]?\n) |\n  "d"\nb ::= "b"\n  | "x"\r\n',
    "escapes": r'root ::= "\x41\u00e9\U0001F600" [\]\[\\^-] "\[\"\]" "\t\r\n\\"?',
    "its own rule": 'root ::= "(" root ")" root | ',
    "negated": 'root ::= ([^"\\\\\\x7F\\x00-\\x1F\\U0010ffff] | "\\\\" (["\\\\/bn] | "u" [0-9a-f]{2}))*',
}


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_a_grammar_takes_what_a_chart_of_its_text_takes(name: str, vocabulary: Vocabulary) -> None:
    """Tries every character after prefixes of up to 12, drawn from the accepted ones."""
    syntax, draw = read_ebnf(CONSTRUCTS[name]), random.Random(name)
    whole = SourceTree("", Seq((syntax.root, Leaf((0, 0), END.__eq__))), syntax.rules)
    compiled = compile_grammar(GrammarSpec("ebnf", CONSTRUCTS[name]), vocabulary)
    num_ended = 0
    for _ in range(12):
        matcher, chart = compiled.start(), Chart(whole)
        for _ in range(12):
            wanted = {char for char in MORE_CHARS if any(leaf.accepts(char) for _, leaf in chart._leaves[-1])}
            taken = {char for char in MORE_CHARS if matcher.fork().accept_bytes(char.encode()) == len(char.encode())}
            assert taken == wanted - {END}
            assert matcher.is_complete == (END in wanted)
            num_ended += matcher.is_complete
            if not taken:
                break
            char = draw.choice(sorted(taken))
            matcher.accept_bytes(char.encode())
            chart.push(char)
    assert num_ended


@pytest.mark.parametrize(
    "text, is_it",
    [
        ('root ::= "a"', True), ('\n# note: x\nroot::="a"', True), ('<root> ::= "a"', True), ("é ::= [a", True),
        ('start: NAME "::=" NAME\nNAME: /[a-z]+/\n', False), ('// root ::= "a"\nstart: "a"', False),
        ("%ignore /::=/\nstart: X", False),
        ('?start: "a" | x\nx.2: "::=" ', False), ("", False),
    ],
)  # fmt: skip
def test_the_dialect_shows_in_the_first_rule(text: str, is_it: bool) -> None:
    assert is_ggml_bnf(text) == is_it


def test_a_lark_grammar_may_hold_the_signs_of_the_other_dialect(vocabulary: Vocabulary) -> None:
    text = 'start: NAME "::=" NAME\nNAME: /[a-z]+/\n'
    matcher = compile_grammar(GrammarSpec("grammar", text), vocabulary).start()
    assert matcher.accept_bytes(b"a::=b") == 5
    assert matcher.is_complete
