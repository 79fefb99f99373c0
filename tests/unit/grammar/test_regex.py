"""The texts of a regex constraint are accepted by `re.fullmatch`; what cannot be enforced is refused by name."""

from __future__ import annotations

import re
import unicodedata

import pytest
import regex
import xgrammar

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar.automaton import Automaton
from workbench.grammar.ecma import python_pattern
from workbench.grammar.outlines_compile import compile_regex
from workbench.grammar.regex import IN_JSON_STRINGS, plain_regex
from workbench.types import GrammarSpec

COMPILER = xgrammar.GrammarCompiler(
    xgrammar.TokenizerInfo([chr(i) for i in range(128)], xgrammar.VocabType.RAW, stop_token_ids=[]),
    max_threads=1,
    cache_enabled=False,
)


def accepts(plain: str, text: str) -> bool:
    matcher = xgrammar.GrammarMatcher(COMPILER.compile_regex(plain))
    return bool(matcher.accept_string(text) and matcher.is_completed())


# The constructs of the reference's examples come first, then those that dialects treat differently.
PATTERNS = [
    r"((25[0-5]|2[0-4]\d|[01]?\d\d?).){3}(25[0-5]|2[0-4]\d|[01]?\d\d?)", r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}",
    r"[\w\d\s]{1,16}", r'[^"]+', r"\{\}", r"(Paris|London)?", r"[0-9]{1,2}\.[0-9]{0,2}", r"\n\t", r"a{3}", r".*", r"^abc$",
    r"\Aab\Z", r"\d+", r"\w+", r"\s", r"\S+", r"\W", r"\D", r"[^\n]+", r"[^\w]", r"[^\s]+", r"[^\W]", r"[\s\S]", r"a{2,}",
    r"a{,2}", r"a+?b", r"(?P<x>ab)", r"a|", r"|a", r"", r"()", r"(|a)b", r"[]a]", r"[^]a]", r"[\b]", r"\0", r"\012",
    r'\-\_\/\"', r"[a\-z]", r"(?x) a b # comment", r"(?s).", r"(?s:.)x.", r"a#b", r"[é-ü]", r"😀+", r"\v\f\a", r"(?#c)a",
    r"\N{BULLET}", r"x{", r"x{a}", r"\U0001F600", r"^a$|^b$", r"(^a|b)c", r"(^)a($)", r"(a*)*b", r"(a|b*)+c",
    r"((a{1,3}){2}){2}", r"a{0}b", r"(?a)\w\W", r"[\x00-\x1f]", r'"\\', r"(?m)^a$", "[\U00010000-\U0010ffff]",
    r"\$\.\*\(\)\[\]\^\|", r"[ -~]", r"_a0", r"(?i)AB", r"(?i:paris)", r"x?(?i:a)b", r"(?i)[^a-c]", r"(?i)a(?-i:b)",
    r"(?i)É|[ß-ü]", r"(?ia)é|k", r"(?i)[A-C\d]?", r"(?i)\w", r"(?i)[k-s]", r"(?i)[^K]", r"[[a]", r"(?#[)[a]", r"[^[\]]",
    r"(?x)a # [\n | [b]",
]  # fmt: skip
TEXTS = [
    "", "a", "b", "ab", "abc", "a\nb", "aab", "c", "bc", "ac", "abab", "12", "1.2.3.4", "255.1x3.9", "Paris", "é", "漢", "ab c",
    "\n", "\t", " ", '"', '"\\', "-", "_", "a ", "x.", "x\n", "a\n", "{}", '-_/"', "-a", "x{", "x{a}", "]", "😀", "😀😀", "•",
    "\x00", "\x08", "\x0b\x0c\x07", "a!", "aé", "user@x.org", "aaaa", "aaaaaaaaaaaa", "aaa", "a#b", "\x1f", "\U0010ffff",
    "\u2028", "\x85", "\x1c", "٣", "ü", "$.*()[]^|", "0", "\n\t", "_a0", "3.14",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_plain_form_accepts_what_python_accepts(pattern: str) -> None:
    """Exact for ASCII texts; narrower for others, since backslash classes generate their ASCII part."""
    plain = plain_regex(pattern)
    for text in TEXTS:
        wanted = re.fullmatch(pattern, text) is not None
        if accepts(plain, text) != wanted:
            assert wanted, f"{text!r} would be generated for {pattern!r}"
            assert not (text.isascii() and text.isprintable()), f"{text!r} could not be generated for {pattern!r}"


@pytest.mark.parametrize(
    "pattern", ["(?i)[a-k]", "(?i)[^a-k]", "(?i)é", "(?i)[^ſ]", "(?i)[Ā-ſ]", "(?ia)[^k]", "(?i)[^\\u03b9]", "(?i)s"]
)
def test_case_is_ignored_as_python_ignores_it(pattern: str) -> None:
    """Exact, but an ASCII letter does not generate its equals beyond ASCII."""
    plain = re.compile(plain_regex(pattern))
    found = {char for char in map(chr, range(0x3000)) if plain.fullmatch(char)}
    wanted = {char for char in map(chr, range(0x3000)) if re.fullmatch(pattern, char)}
    assert found <= wanted
    assert wanted - found <= (set("\u017f\u212a\u0130\u0131") if "^" not in pattern else set())


@pytest.mark.parametrize(
    "pattern",
    [r"\p{L}", r"\P{L}", r"[\p{Lu}\p{Nd}_]", r"[^\p{Letter}\p{gc=Zs}]", r"\pN", r"\p{ASCII}", r"(?<x>[\P{M}])"],
)
def test_properties_of_characters_are_those_of_unicode(pattern: str) -> None:
    plain = re.compile(plain_regex(pattern))
    codes = [code for code in range(0x3000) if unicodedata.category(chr(code)) != "Cn"]
    assert [code for code in codes if plain.fullmatch(chr(code))] == [
        code for code in codes if regex.fullmatch(pattern, chr(code))
    ]


def test_spellings_of_ecmascript_are_read() -> None:
    assert accepts(plain_regex(r"(?<year>\u{32}[0-9]{3})-\u{1F600}[\u{5d}]"), "2024-😀]")


def test_no_pattern_makes_python_warn(recwarn: pytest.WarningsRecorder) -> None:
    for pattern in ("[[a]", "[a[[]", "[^[]"):
        plain_regex(pattern)
    assert not recwarn.list


@pytest.mark.parametrize("pattern", ["[^a]{1,3}", r"\S+", ".*", r"[^@]+@[^@]+", r"\D", r"[ -~]*"])
def test_patterns_inside_json_need_no_escapes(pattern: str) -> None:
    plain = plain_regex(pattern, allowed=IN_JSON_STRINGS)
    for char in '"\\\n\t\x00\x1f':
        assert not accepts(plain, char)
        assert not accepts(plain, f"b{char}")


@pytest.mark.parametrize(
    "pattern, named",
    [
        ("(?=a)a", "lookahead"),
        ("(?<!a)b", "negative lookahead and lookbehind"),
        (r"(a)\1", "references to groups"),
        (r"(a)?(?(1)b|c)", "conditions on groups"),
        (r"\bab\b", "a word boundary"),
        (r"(?<n>a)\k<n>", "references to groups"),
        (r"[\p{Script=Greek}]", r"the property \\p\{Script=Greek\} is not known"),
        ("(?>a)", "atomic groups"),
        ("a++", "possessive repetition"),
        ("a^b", "an anchor inside"),
        ("a$b", "an anchor inside"),
        ("(^a)+", "an anchor inside"),
        (r"a$\n", "an anchor inside"),
        (r"[^\s\S]", "a character that can never come"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name(pattern: str, named: str) -> None:
    with pytest.raises(NotSupported, match=named):
        plain_regex(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "[a-",
        "(a",
        "a)",
        "*a",
        "a**",
        "[z-a]",
        "a{3,1}",
        r"\p",
        r"\u{110000}",
        r"\q",
        "(?<1>a)",
        "(?<x>a",
        "(" * 5000,
        "a{99999999999}",
    ],
)
def test_what_is_no_regular_expression_is_an_invalid_request(pattern: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^regex is"):
        plain_regex(pattern)


def test_groups_may_be_many_but_not_deep() -> None:
    assert accepts(plain_regex("(a)" * 500), "a" * 500)
    assert accepts(plain_regex("(" * 100 + "a" + ")" * 100), "a")
    assert accepts(plain_regex("[((]{3}" + r"\(" * 200), "(" * 203)
    with pytest.raises(InvalidRequest, match="at most 100 groups inside each other"):
        plain_regex("(" * 101 + "a" + ")" * 101)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_other_backend_reads_the_plain_form_the_same_way(pattern: str) -> None:
    automaton = Automaton.from_bytes(compile_regex(plain_regex(pattern), GrammarSpec("regex", pattern), None))
    for text in TEXTS:
        state, length = automaton.after(0, text.encode())
        assert (length == len(text.encode()) and bool(automaton.is_final[state])) == accepts(plain_regex(pattern), text), text


@pytest.mark.parametrize(
    "pattern, of_python, text, matches",
    [
        (r"\p{Lu}+", True, "AÉ", True), (r"[^\p{Lu}]", False, "A", False), (r"[\P{L}]", False, "1", True),
        (r"(?<n>a)\k<n>", True, "aa", True), (r"\u{1f600}", False, "😀", True), (r"\u{41}", True, "A", True),
        (r"\cJ", False, "\n", True), ("[]", False, "", False), ("[^]", False, "]", True), ("[]a]+", True, "]a", True),
        ("[^]a]", True, "a", False), ("[[a]]", False, "a]", True), ("[[:]", True, "[", True), ("a(?#[)b", True, "ab", True),
        (r"\-\/[\-\]]", False, "-/]", True), (r"(?x) a b ", True, "ab", True), (r"[\]\[]", False, "[", True),
    ],
)  # fmt: skip
def test_one_reader_takes_both_dialects(pattern: str, of_python: bool, text: str, matches: bool) -> None:
    assert (re.fullmatch(python_pattern(pattern, of_python=of_python), text) is not None) == matches
