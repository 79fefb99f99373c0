"""Regular expressions of ECMA-262, as JSON Schema has them, for Python's parser."""

from __future__ import annotations

import re

from workbench.grammar.charsets import complement, of_property


class NotRegular(Exception):
    """What no automaton can express. The message names it."""


_ECMA = re.compile(
    r"\\(?:(?P<prop>[pP])(?:\{(?P<name>[^}]*)\}|(?P<letter>[A-Z]))|u\{(?P<code>[0-9a-fA-F]+)\}|c(?P<control>[A-Za-z])"
    r"|k<(?P<back>\w+)>|(?P<slash>[/\-_ ~!@#%&=:;,'\"<>`])|(?P<other>.))"
    r"|\(\?<(?P<group>[A-Za-z_$]\w*)>|(?P<none>\[\])|(?P<any>\[\^\])|(?P<class>\[\^?\]?)|(?P<end>\])",
    re.DOTALL,
)


def python_pattern(pattern: str) -> str:
    """The same expression for Python's parser, with what only ECMA has written out."""
    in_class = False

    def written(found: re.Match[str]) -> str:
        nonlocal in_class
        if found["prop"]:
            return _property(found["prop"] == "P", found["name"] or found["letter"], in_class)
        if found["code"]:
            return f"\\U{int(found['code'], 16):08x}"
        if found["control"]:
            return f"\\x{ord(found['control']) % 32:02x}"
        if found["back"]:
            return f"(?P={found['back']})"
        if found["slash"]:
            return "\\" + found["slash"] if found["slash"] in "-~#&" else found["slash"]
        if found["group"]:
            return found[0] if in_class else f"(?P<{found['group'].replace('$', '_')}>"
        if found["none"]:
            return r"\[\]" if in_class else "(?!)"
        if found["any"]:
            return r"\[^\]" if in_class else r"[\s\S]"
        if found["class"] and not in_class:
            in_class = True
            return found[0] if found[0][-1] != "]" else found[0][:-1] + "\\]"
        if found["class"]:
            return "\\" + found[0]
        if found["end"]:
            in_class = False
        return found[0]

    return _ECMA.sub(written, pattern)


def _property(negated: bool, name: str, in_class: bool) -> str:
    ranges = of_property(name)
    if ranges is None:
        raise NotRegular(f"the property \\p{{{name}}}")
    members = "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in (complement(ranges) if negated else ranges))
    return members if in_class else f"[{members}]"
