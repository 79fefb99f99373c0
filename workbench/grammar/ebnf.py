r"""Grammars in GGML BNF, written for the backend's reader: refuses what that does not support and writes out what it lacks.

Surrogates (U+D800 to U+DFFF) are no text: the backend would accept their bytes wherever a class includes them.
"""

from __future__ import annotations

import re

from workbench.errors import InvalidRequest, NotSupported

FIELD = "ebnf"
MAX_DIGITS = 9
FIRST_HALF, LAST_HALF = 0xD800, 0xDFFF
ANY, HALVES = r"[\u0000-\ud7ff\ue000-\U0010ffff]", r"\ud800-\udfff"
MACROS = {"Token", "ExcludeToken", "TokenTagDispatch", "TagDispatch", "Regex"}
EBNF_CHAR = re.compile(r"\\(?:x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|.)|[^\\]", re.DOTALL)
"""One character of a string or a class, as it is spelled there."""
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "0": "\0"}
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})|\\.", re.DOTALL)
_STRING, _CLASS = r'"(?:\\.|[^"\\])*"', r"\[(?P<negated>\^?)(?P<members>(?:\\.|[^\]\\])*)\]"
_PART = re.compile(
    rf"(?P<string>{_STRING})|{_CLASS}|(?P<comment>#[^\n]*)|(?P<token>!?<[^\n>]*>)"
    r"|(?P<count>\{[^}]*\})|(?P<ahead>\(=)|(?P<word>[\w.-]+)(?P<call>(?=\s*\())?",
    re.DOTALL,
)
_IN_STRINGS = re.compile(r"\\([\[\]])|\\.", re.DOTALL)
"""Escaped brackets in strings. They need no escape there, and the backend accepts none."""
_ALTERNATIVE = re.compile(
    rf"{_STRING}|{_CLASS}|(?P<blank>\s+|#[^\n]*)|(?P<rule>[\w.-]+\s*::=)|(?P<open>[(|])|(?P<close>\))|[\w.-]+|.|$", re.DOTALL
)


def plain_ebnf(text: str, field: str = FIELD) -> str:
    """Returns the same grammar in the backend's dialect. Raises NotSupported with the line; errors are left to the backend."""
    text = two_digits(text.replace("\0", r"\x00"))
    return _with_empty_texts(_PART.sub(lambda part: _plain(part, field), text))


def _with_empty_texts(text: str) -> str:
    """Writes `""` where an alternative is empty, as in `| "a"` and `("a" |)`."""
    done: list[str] = []
    begun, at = "", 0
    for part in _ALTERNATIVE.finditer(text):
        done.append(part[0])
        if part["blank"]:
            continue
        is_end = part["rule"] or part["close"] or part[0] in ("|", "")
        if is_end and (begun in ("|", "(") or (begun and part[0] == "|")):
            done.insert(at, ' ""')
        begun, at = part["rule"] or part["open"] or "", len(done)
    return "".join(done)


def two_digits(text: str) -> str:
    r"""Writes `\u00df` for `\xdf`: the backend reads `\xdfe`, which is two characters, as one."""
    return _ESCAPE.sub(lambda found: rf"\u00{found[1]}" if found[1] else found[0], text)


def _plain(part: re.Match[str], field: str) -> str:
    def refused(what: str, hint: str) -> NotSupported:
        line = part.string.count("\n", 0, part.start()) + 1
        return NotSupported(f"{field}, line {line}: {what} is not supported", hint=hint)

    if part["string"] is not None and any(map(_is_half, EBNF_CHAR.findall(part["string"]))):
        raise refused("half a character", r"write it whole: \U0001F600 for \ud83d\ude00")
    if part["string"] is not None:
        return _IN_STRINGS.sub(lambda found: found[1] or found[0], part["string"])
    if part["members"] is not None:
        return _class(part["negated"], part["members"])
    if part["count"] is not None and max(map(len, re.findall(r"\d+", part["count"])), default=0) > MAX_DIGITS:
        raise InvalidRequest(field, part["count"], f"a count of at most {MAX_DIGITS} digits")
    if part["token"] is not None:
        raise refused(f"the token {part[0]}", "a constraint is on the text: write the token's characters, if it has any")
    if part["ahead"] is not None:
        raise refused("looking ahead with (=", "write what follows into the rule")
    if part["call"] is not None and part["word"] in MACROS:
        raise refused(f"{part['word']}(", "write it as rules, or use structural_tag; a rule of that name needs another")
    return ANY if part["word"] == "." else _name(part) if part["word"] else part[0]


def _name(part: re.Match[str]) -> str:
    """Returns a rule's name for the backend, which has no names that begin with a digit."""
    if not part[0][0].isdecimal():
        return part[0]
    first = "_"
    while f"{first}{part[0]}" in part.string:
        first += "_"
    return first + part[0]


def _is_half(spelled: str) -> bool:
    return FIRST_HALF <= ord(ebnf_char(spelled)) <= LAST_HALF


def _class(negated: str, members: str) -> str:
    """Writes a class without surrogates."""
    parts, kept = EBNF_CHAR.findall(members), [HALVES] if negated else []
    while parts:
        is_range = len(parts) > 2 and parts[1] == "-"
        low, high = parts[0], parts[2 if is_range else 0]
        del parts[: 3 if is_range else 1]
        kept += _without_halves(low, high) if is_range or _is_half(low) else [r"\-" if low == "-" else low]
    return f"[{negated}{''.join(kept)}]"


def _without_halves(low: str, high: str) -> list[str]:
    first, last = ord(ebnf_char(low)), ord(ebnf_char(high))
    if last < FIRST_HALF or first > LAST_HALF:
        return [f"{low}-{high}"]
    return [rf"{low}-\ud7ff"] * (first < FIRST_HALF) + [rf"\ue000-{high}"] * (last > LAST_HALF)


def ebnf_char(spelled: str) -> str:
    """Returns the character of one match of `EBNF_CHAR`."""
    if spelled[0] != "\\" or len(spelled) == 1:
        return spelled
    return chr(int(spelled[2:], 16)) if len(spelled) > 2 else _LETTERS.get(spelled[1], spelled[1])
