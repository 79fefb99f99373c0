"""A format's expression accepts the examples of its standard, and nothing that `jsonschema`'s own checker refuses."""

from __future__ import annotations

import random
import re
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import jsonschema
import pytest

from workbench.grammar import linear
from workbench.grammar.formats import FORMATS, NARROWER
from workbench.grammar.regex import plain_regex

CHECKER = jsonschema.Draft202012Validator.FORMAT_CHECKER
NUM_DRAWS = 2000
SLOW = {"iri", "iri-reference"}
"""Formats whose checker takes 5 ms a text."""
MAX_STATES = 1500

# Valid texts first, then invalid ones.
EXAMPLES: dict[str, tuple[list[str], list[str]]] = {
    "date": (
        ["2024-02-29", "2000-02-29", "0001-01-01", "2023-12-31", "2023-04-30"],
        ["2023-02-29", "1900-02-29", "2023-04-31", "2023-13-01", "23-01-01", "2023-1-1", "2023-01-32", "2023-01-01\n"],
    ),
    "time": (
        ["00:00:00Z", "23:59:59.123456789+14:00", "12:30:00z", "08:30:06-00:00"],
        ["24:00:00Z", "12:00:00", "12:00Z", "12:60:00Z", "12:00:60Z", "12:00:00+24:00", "12:00:00.Z", "12:00:00+1:00"],
    ),
    "date-time": (
        ["1963-06-19T08:30:06.283185Z", "2024-02-29t23:59:59z", "1990-12-31T15:59:50-08:00"],
        ["2023-02-29T00:00:00Z", "2024-02-29 00:00:00Z", "2024-02-29", "2024-02-29T00:00:00"],
    ),
    "duration": (
        ["P4DT12H30M5S", "P1Y", "PT0S", "P4W", "P1M", "PT36H", "PT1M", "P1Y2M3DT4H5M6S"],
        ["P", "PT", "P1YT", "P1D2H", "P2D1Y", "P1Y2W", "PT1D", "4DT1H", "P1", "P1Y1D", "PT1H1S", "P٢Y", "p1Y"],
    ),
    "email": (
        [
            "joe@example.org", "te~st+x=y@example.org", "a.b.c.d.e@x.y", '"joe bloggs"@example.org', r'"a\"b@c"@example.org',
            "joe@[127.0.0.1]", "joe@[IPv6:::1]", f"{'a' * 64}@example.org", f"{'a' * 20}.{'b' * 43}@x.org", "joe@localhost",
        ],
        [
            "joe", "@x.org", "joe@", ".a@x.org", "a.@x.org", "a..b@x.org", "a b@x.org", "joe@-x.org", "joe@[127.0.0.300]",
            f"{'a' * 65}@example.org", f"joe@{'a' * 64}.org", "joe@x..org", "joe@x.org,ann@x.org", "é@x.org", "a@x=y.org",
        ],
    ),
    "idn-email": (
        ["실례@실례.테스트", "joe@example.org", "δοκιμή@παράδειγμα.ελ", '"é ß"@x.org'],
        ["실례", "@실례", "a..b@실례", "joe@́x.org", "joe@a_b"],
    ),
    "hostname": (
        [
            "www.example.org", "a", "1.2.3", "a-b.c-d", "EXAMPLE.org", "a" * 63, ".".join(["a" * 63] * 3), "a--b", "abc--d",
            f"{'a' * 63}.b.c.d.e.f.{'g' * 30}", "ec2-203-0-113-25.compute-1.amazonaws.com",
        ],
        ["", "-a", "a-", "a..b", ".a", "a.", "a_b", f"{'a' * 64}.example", "ab--c", "xn--X", "é", "a b", "a.-b", "a\n"],
    ),
    "idn-hostname": (
        ["실례.테스트", "例え.jp", "bücher.example", "παράδειγμα.com", "пример.рф", "straße.de", "a。b", "hostname"],
        ["-bücher", "bücher-", "〮실례", "a..b", "bü cher", "̈a", "ab--ü", "bücher.", "BÜCHER"],
    ),
    "ipv4": (["0.0.0.0", "255.255.255.255", "192.168.1.20"], ["256.0.0.1", "1.2.3", "01.2.3.4", "1.2.3.4.5", "1.2.3.४"]),
    "ipv6": (
        [
            "::", "::1", "1::", "2001:db8::7", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "::ffff:192.168.0.1",
            "1:2:3:4:5:6:1.2.3.4", "1::8", "::FFFF:0:0", "0:0:0::1",
        ],
        [
            "::ffff:192.168.0.01", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", ":1", "1:", "1::2::3", "12345::", "::g", "fe80::1%eth0",
            "::1/64", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4::5:6:7:8", "::1.2.3", ":::", "1.2.3.4::",
        ],
    ),
    "uri": (
        [
            "http://[2001:db8::7]/a", "https://joe:x@example.org:8080/a/b?c=d&e#f", "mailto:joe@example.org", "urn:isbn:123",
            "tel:+1-816", "file:///etc/passwd", "http://x.org/%7Ejoe", "a:", "http://", "http://[v1.a]/", "ldap://[::1]/c=GB?a?b",
        ],
        [
            "//x.org/a", "/a", "a", "", "1a:b", "http:// x.org", "http://x.org/%zz", "http://x.org/a b", "http://[::1", "http://é",
            "http://x.org:a/", "a:b\\c", "http://x.org/<a>", 'a:"b"', "a:#b#c", "http://[::ffff:1.2.3.04]/", "http://a[b]c/",
        ],
    ),
    "uri-reference": (
        ["https://example.org/a?b=c#d", "//x.org/a", "/a/b", "a/b", "", "#f", "?q", "a/b:c", "../a", "http://[::1]/"],
        ["\\\\server\\share", "#a\\b", "a b", "1:b", ":a", "#a#b", "é", "[a]"],
    ),
    "iri": (
        ["http://ƒøø.ßår/?∂éœ=πîx#πîüx", "mailto:é@x.org", "http://[2001:db8:0:0:0:0:0:7]/a", "a:b"],
        ["/a", "", "http:// é", "ƒ:a", "http://[2001:db8", "a:\ue000"],
    ),
    "iri-reference": (["//ƒøø.ßår/?∂éœ=πîx#πîüx", "é", "/é/ü", "", "#é", "a:b?\ue000"], ["\\é", "#é#", "é é", "é:b"]),
    "uri-template": (
        ["http://x.org/{term:1}/{term}{?q*,lang}", "", "a", "{+path}/here", "{a.b,c:10}", "{a%41}", "é😀", "a'b", "%41{&x}"],
        ["{", "}", "{}", "{a", "a}", "{=a}", "{a:0}", "{a**}", "{a,}", "a b", "%4", '"', "{a:1*}", "{a..b}", "<a>", "{a{b}}"],
    ),
    "uuid": (
        ["2EB8AA08-AA98-11EA-B4AA-73B441D16380", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "00000000-0000-0000-0000-000000000000"],
        ["2eb8aa08aa9811eab4aa73b441d16380", "2eb8aa08-aa98-11ea-b4aa-73b441d1638", "2eb8aa08-aa98-11ea-b4aa-73b441d1638g"],
    ),
    "json-pointer": (["", "/", "/a/b~0c~1d/0", "//", "/é\n\"\\"], ["a", "/~", "/~2", "#/a", "a/b"]),
    "regex": (
        [
            "([abc])+\\s+$", "", "^a|b$", "(?:a(b(c(d))))*?", "[^a-z0-9_-]{2,}", r"\\\.\/\u00e9", "[-]", "(?=a)b",
            "[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\\.[a-zA-Z]{2,}", r"^\d{4}-\d{2}-\d{2}$", "é+", "[A-Fa-f]", "a{2}c{1,9}d{10,12}",
        ],
        ["(", "(a", "a)", "*a", "a**", "[a", "[z-a]", "a{2,1}", "a{12,11}", "[]", "\\", "a{", "(?P<n>a)", "^(abc]", "(?a)"],
    ),
    "relative-json-pointer": (["0", "1/a/b", "0#", "10/~0", "120#"], ["/a", "", "01/a", "-1/a", "0##", "+1", "1a", "0/~2"]),
}  # fmt: skip


def draw(items: Any, rng: random.Random) -> str:
    """Draws a text of the parsed expression. A count without an end gets up to five more."""
    text = ""
    for kind, value in items:
        if kind is op.LITERAL:
            text += chr(value)
        elif kind is op.IN:
            low, high = rng.choice([(v, v) if kind is op.LITERAL else v for kind, v in value])
            text += chr(rng.randint(low, high))
        elif kind is op.BRANCH:
            text += draw(rng.choice(value[1]), rng)
        elif kind is op.SUBPATTERN:
            text += draw(value[3], rng)
        else:
            assert kind is op.MAX_REPEAT, kind
            low, high, inner = value
            high = low + 5 if high is op.MAXREPEAT else high
            text += "".join(draw(inner, rng) for _ in range(rng.choice([low, high, rng.randint(low, high)])))
    return text


@pytest.mark.heavy
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_drawn_passes_the_checker(name: str) -> None:
    if name not in CHECKER.checkers:
        pytest.skip("jsonschema[format-nongpl] is not installed")
    rng, tree = random.Random(7), parser.parse(plain_regex(FORMATS[name]))
    drawn = {draw(tree, rng) for _ in range(NUM_DRAWS // 10 if name in SLOW else NUM_DRAWS)}
    assert [text for text in drawn if not CHECKER.conforms(text, name)] == []
    assert all(re.fullmatch(FORMATS[name], text) for text in drawn)


@pytest.mark.parametrize("name", FORMATS)
def test_examples_are_told_from_what_is_wrong(name: str) -> None:
    right, wrong = EXAMPLES[name]
    assert [text for text in right if not re.fullmatch(FORMATS[name], text)] == []
    assert [text for text in wrong if re.fullmatch(FORMATS[name], text)] == []
    if name in CHECKER.checkers:
        assert [text for text in right if not CHECKER.conforms(text, name)] == []


@pytest.mark.parametrize("name", FORMATS)
def test_an_automaton_for_it_is_small(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "MAX_STATES", MAX_STATES)
    monkeypatch.setattr(linear, "MAX_PLACES", 20_000)
    assert linear.linear_rules(plain_regex(FORMATS[name]), "root", "\0") is not None


def test_what_is_narrower_is_said_of_formats_that_there_are() -> None:
    assert NARROWER.keys() <= FORMATS.keys()
