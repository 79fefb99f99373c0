"""Grammars in the style of Lark, rewritten for the backend; errors and refusals name the line.

Terminals are regular expressions of Python and strings of Python, so both are rewritten in the plain forms that the backend reads
the same way. A priority changes which parse is preferred, not which texts exist, so it is left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar.charsets import MARK
from workbench.grammar.regex import plain_regex

FIELD = "grammar"
PART = re.compile(
    r'(?P<string>"(?:\\.|[^"\\\n])*"i?)|(?P<regex>/(?!/)(?:\\.|[^/\\\n])+/[a-z]*)|(?P<comment>//[^\n]*)'
    r"|(?P<open>[(\[])|(?P<close>[)\]])|(?P<newline>\n)|(?P<word>[^\"/()\[\]\n]+|.)",
    re.DOTALL,
)
INT, EXP = "[0-9]+", "[eE][+-]?[0-9]+"
FLOAT = rf"(?:[0-9]+{EXP}|(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:{EXP})?)"
COMMON = {
    "DIGIT": "[0-9]", "HEXDIGIT": "[0-9a-fA-F]", "INT": INT, "SIGNED_INT": f"[+-]?{INT}", "FLOAT": FLOAT,
    "DECIMAL": r"(?:[0-9]+\.[0-9]*|\.[0-9]+)", "SIGNED_FLOAT": f"[+-]?{FLOAT}", "NUMBER": f"(?:{FLOAT}|{INT})",
    "SIGNED_NUMBER": f"[+-]?(?:{FLOAT}|{INT})", "ESCAPED_STRING": r'"(?:[^"\\\n]|\\[^\n])*"', "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]", "LETTER": "[a-zA-Z]", "WORD": "[a-zA-Z]+", "CNAME": "[a-zA-Z_][a-zA-Z_0-9]*",
    "WS_INLINE": r"[ \t]+", "WS": r"[ \t\f\r\n]+", "CR": r"\r", "LF": r"\n", "NEWLINE": r"(?:\r?\n)+",
}  # fmt: skip
"""Terminals of Lark's library `common`, as regular expressions of their own."""
PRIORITY = re.compile(r"^(\s*[?!]?\w+)\.-?\d+(?=\s*:)")
REFUSED = (
    (re.compile(r"%(?!ignore\b|import\b)(\w*)"), "the directive %{0}"),
    (re.compile(r"\b(?:_?INDENT|_?DEDENT)\b"), "{0} (indentation)"),
    (re.compile(r"\w+\{[^~]*"), "the template {0}"),
    (re.compile(r"@\w+|<[^>]*>?"), "{0}"),
)


def lark_grammar(text: str) -> str:
    """Returns the same grammar for the backend. Raises InvalidRequest or NotSupported with the line."""
    lines: list[str] = []
    for number, line in _lines(text):
        bare = PART.sub(lambda part: part[0] if part["word"] or part["open"] or part["close"] else "_", line)
        for pattern, named in REFUSED:
            if found := pattern.search(bare):
                raise _refused(number, named.format(found[found.lastindex or 0].strip()))
        if bare.lstrip().startswith("%import"):
            lines += _imported(bare, number)
            continue
        line = PRIORITY.sub(r"\1", line)
        lines.append("".join(_plain_part(part, number) for part in PART.finditer(line)))
    return "\n".join(lines) + "\n"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yields (number, definition or its continuation) without comments. What is in brackets is on one line."""
    line, depth, number, first = "", 0, 1, 1
    for part in PART.finditer(text):
        depth += bool(part["open"]) - bool(part["close"])
        if part["newline"]:
            number += 1
            if depth <= 0:
                yield first, line
                line, first = "", number
            else:
                line += " "
        elif not part["comment"]:
            line += part[0]
    yield first, line


def _plain_part(part: re.Match[str], number: int) -> str:
    if part["regex"]:
        pattern, _, flags = part[0][1:].rpartition("/")
        if set(flags) - set("imsux"):
            raise _refused(number, f"the flags {flags!r} of a regular expression")
        return f"/{plain_regex(f'(?{flags}){pattern}' if flags else pattern, field=f'{FIELD}, line {number}')}/"
    if part["string"]:
        quoted = part[0].removesuffix("i")
        try:
            value = ast.literal_eval(quoted)
        except (ValueError, SyntaxError) as error:
            raise InvalidRequest(f"{FIELD}, line {number}", quoted, f"a string ({error})") from None
        if chr(MARK) in value or not value:
            raise InvalidRequest(f"{FIELD}, line {number}", quoted, "text of at least one character, none of it U+10FFFF")
        return '"' + "".join(map(_spelled, value)) + '"' + part[0][len(quoted) :]
    return part[0]


def _spelled(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\u{ord(char):04x}"


def _imported(line: str, number: int) -> Iterator[str]:
    """Yields the definitions that a `%import` adds."""
    found = re.fullmatch(r"\s*%import\s+common\s*(?:\.\s*(\w+)\s*(?:->\s*(\w+))?|\(([\w\s,]*)\))\s*", line)
    if found is None:
        raise _refused(number, f"{line.strip()!r}", "only what `common` has can be imported")
    one, alias, several = found.groups()
    for name in re.findall(r"\w+", one or several):
        if name not in COMMON:
            raise _refused(number, f"common.{name}", f"there are {', '.join(sorted(COMMON))}")
        yield f"{alias or name}: /{plain_regex(COMMON[name])}/"


def _refused(number: int, what: str, hint: str = "") -> NotSupported:
    return NotSupported(f"{FIELD}, line {number}: {what} is not supported in a grammar in the style of Lark",
                        hint=hint or "write it as rules, or the whole as ebnf")  # fmt: skip
