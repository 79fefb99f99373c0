"""Regular expressions as rules of xgrammar's EBNF: as an automaton if that is small, else as xgrammar writes them."""

from __future__ import annotations

import re
from typing import Any

from workbench.grammar.charsets import MARK
from workbench.grammar.ebnf import two_digits
from workbench.grammar.linear import linear_rules

END = chr(MARK)
"""Character for the end of a text: no token may hold it."""
LARGE, BLOCK = 128, 64
"""Counts above the first are written as blocks of the second: xgrammar's masks for larger ones allow tokens that it then refuses,
such as ` ""` inside `"[^"]{0,129}"`."""
_RULE = re.compile(r"^(\w+) ::=", re.MULTILINE)
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|(?P<name>\b[A-Za-z_]\w*\b)')
_COUNT = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|(?P<what>\w+)\{(?P<low>\d+), (?P<high>-?\d+)\}')


def regex_rules(pattern: str, name: str = "root", before: str = END) -> str:
    """Returns EBNF whose rule `name` is the pattern (of `plain_regex`). `before` always follows the pattern."""
    rules = linear_rules(pattern, name, before)
    if rules is not None:
        return rules
    from xgrammar.grammar import Grammar  # the package would load torch, which a compiling child lacks

    text = in_blocks(as_ebnf(Grammar.from_regex(pattern)))
    renamed = {old: name if old == "root" else f"{name}_{old}" for old in _RULE.findall(text)}
    return _QUOTED.sub(lambda found: renamed.get(found["name"] or "", found[0]), text).strip()


def as_ebnf(grammar: Any) -> str:
    """Writes an `xgrammar.Grammar` as its reader accepts it."""
    return two_digits(str(grammar))


def in_blocks(ebnf: str) -> str:
    """Returns the same grammar, as the printer writes it, without large counts."""
    return _COUNT.sub(lambda found: found[0] if found["what"] is None else _in_blocks(found), ebnf)


def _in_blocks(found: re.Match[str]) -> str:
    what, low, high = found["what"], int(found["low"]), int(found["high"])
    if max(low, high) <= LARGE:
        return found[0]
    block = f"({what}{{{BLOCK}, {BLOCK}}})"
    parts = [f"{block}{{{low // BLOCK}, {low // BLOCK}}}", f"{what}{{{low % BLOCK}, {low % BLOCK}}}"]
    most = high - low
    if high < 0:
        parts.append(f"{what}*")
    elif most <= LARGE:
        parts.append(f"{what}{{0, {most}}}")
    else:  # any number up to `most` is some blocks and a rest
        num = (most - BLOCK + 1) // BLOCK
        parts += [f"{block}{{0, {num}}}", f"{what}{{0, {most - num * BLOCK}}}"]
    return f"({' '.join(part for part in parts if not part.endswith('{0, 0}'))})"
