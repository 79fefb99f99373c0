"""What can be seen in the text of a regular expression or a grammar: what has no end, what gives less than it reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

from workbench.grammar.syntax import Leaf, Node, Ref, Repeat, Syntax, parts, read
from workbench.types import GrammarSpec
from workbench.why.findings import CUT, Finding

SPACES, USUAL = " \t\n\r", [chr(code) for code in range(0x21, 0x7F)]
WORD = re.compile(r"\\(\W|w)", re.DOTALL)


def source_findings(spec: GrammarSpec) -> Iterator[Finding]:
    syntax = read(spec.kind, spec.text)
    if syntax is not None:
        yield from endless(syntax)
    if spec.kind == "regex" and any(found[1] == "w" for found in WORD.finditer(spec.text)):
        yield Finding(
            "narrower", r"\w", r"\w gives a-z, A-Z, 0-9 and _", "letters of other scripts (é, я, 漢) never come from it",
            r"write \p{L} for any letter",
        )  # fmt: skip


def endless(syntax: Syntax) -> Iterator[Finding]:
    """Each repetition without an end, by a count or by a rule that leads to itself."""
    for node in (part for top in (syntax.root, *syntax.rules.values()) for part in parts(top)):
        if isinstance(node, Repeat) and node.high is None:
            yield _loop(syntax, node.item, syntax.source[slice(*node.span)])
    for name, body in syntax.rules.items():
        if name in _reached(syntax, body) and all(_is_blank(leaf) for leaf in _leaves(syntax, body)):
            yield _loop(syntax, body, name)


def has_end(pattern: str) -> bool:
    """Whether a text of this expression can only be so long; also where nobody can tell."""
    syntax = read("regex", pattern)
    return syntax is None or next(endless(syntax), None) is None


def _loop(syntax: Syntax, body: Node, shown: str) -> Finding:
    leaves = _leaves(syntax, body)
    if leaves and all(map(_is_blank, leaves)):
        why = "small models like to go on with spaces or line breaks until max_new_tokens cuts them"
        return Finding("endless whitespace", shown, "whitespace may go on without end", why, "count it: {0,2} instead of * or +")
    return Finding(
        "runaway", shown, "it may go on without end", CUT.format("text"), "count it: {1,40} instead of + or *"
    )  # fmt: skip


def _is_blank(leaf: Leaf) -> bool:
    return any(map(leaf.accepts, SPACES)) and not any(map(leaf.accepts, USUAL))


def _leaves(syntax: Syntax, node: Node) -> list[Leaf]:
    bodies = [node, *(syntax.rules[name] for name in _reached(syntax, node))]
    return [part for body in bodies for part in parts(body) if isinstance(part, Leaf)]


def _reached(syntax: Syntax, node: Node) -> set[str]:
    """Rules that the node leads to."""
    reached: set[str] = set()
    below = [node]
    while below:
        names = {part.name for part in parts(below.pop()) if isinstance(part, Ref)} - reached
        reached |= names
        below += [syntax.rules[name] for name in names]
    return reached
