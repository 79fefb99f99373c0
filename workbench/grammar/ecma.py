r"""Rewrites regular expressions of ECMA-262 for Python's parser where the two spell things differently.

`\p{L}`, `(?<name>...)`, `\k<name>` and `\u{1f600}` are read in both dialects. `[]` (nothing), `[^]` (any character) and `\cA` (a
control character) exist in ECMA's only; comments and verbose expressions in Python's only.
"""

from __future__ import annotations

import re

from workbench.grammar.charsets import MARK, Ranges, complement, of_property


class NotRegular(Exception):
    """A construct that no automaton can express. The message names it."""


VERBOSE = re.compile(r"\(\?[a-wyz]*x")
_PARTS = re.compile(
    r"\\(?:(?P<prop>[pP])(?:\{(?P<name>[^{}]*)\}|(?P<letter>[A-Z]))|u\{(?P<code>[0-9a-fA-F]{1,6})\}|c(?P<control>[A-Za-z])"
    r"|k<(?P<back>\w+)>|(?P<mark>[/\-_ ~!@#%&=:;,'\"<>`])|.)"
    r"|(?P<comment>\(\?\#[^)]*\))|\(\?<(?P<group>[A-Za-z_$]\w*)>|(?P<whole>\[\^?\])|(?P<class>\[\^?\]?)|(?P<end>\])",
    re.DOTALL,
)


def python_pattern(pattern: str, *, of_python: bool = False) -> str:
    """Returns the same expression for Python's parser.

    The pattern is one of ECMA-262; with `of_python` it is one of Python with ECMA's further spellings. Raises NotRegular for an
    unknown property.
    """
    if of_python and VERBOSE.search(pattern):
        return pattern
    return _Reader(of_python).read(pattern)


class _Reader:
    def __init__(self, of_python: bool) -> None:
        self.of_python = of_python
        self.in_class = False

    def read(self, pattern: str) -> str:
        found, at = [], 0
        while part := _PARTS.search(pattern, at):
            text, end = self.written(part)
            found += [pattern[at : part.start()], text]
            at = end
        return "".join([*found, pattern[at:]])

    def written(self, part: re.Match[str]) -> tuple[str, int]:
        """Returns a part as Python writes it, and the position where the pattern continues."""
        if part[0].startswith("\\"):
            return self.escape(part), part.end()
        if self.in_class:
            self.in_class = part["end"] is None
            if self.in_class and part[0].startswith("["):  # Python would warn about a set inside a set
                return "\\[", part.start() + 1
            return part[0][0], part.start() + 1
        if part["group"]:
            return f"(?P<{part['group'].replace('$', '_')}>", part.end()
        if part["whole"] and not self.of_python:
            return "(?!)" if part[0] == "[]" else r"[\s\S]", part.end()
        if part["whole"] or part["class"]:
            self.in_class = True
            return part[0].replace("]", "\\]"), part.end()
        return part[0], part.end()

    def escape(self, part: re.Match[str]) -> str:
        if part["prop"]:
            return _members(part["prop"] == "P", part["name"] or part["letter"] or "", self.in_class)
        if part["code"] and int(part["code"], 16) <= MARK:
            return f"\\U{int(part['code'], 16):08x}"
        if part["control"] and not self.of_python:
            return f"\\x{ord(part['control']) % 32:02x}"
        if part["back"]:
            return f"(?P={part['back']})"
        if part["mark"]:
            return part[0] if part["mark"] in "-~#&" else part["mark"]
        return part[0]


def _members(negated: bool, name: str, in_class: bool) -> str:
    ranges: Ranges | None = of_property(name)
    if ranges is None:
        raise NotRegular(f"the property \\{'P' if negated else 'p'}{{{name}}}")
    members = "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in (complement(ranges) if negated else ranges))
    return members if in_class else f"[{members}]"
