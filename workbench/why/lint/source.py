"""Findings in the source of a regular expression or a grammar: repetitions without an end, classes narrower than they look."""

from __future__ import annotations

import re
from collections.abc import Iterator

from workbench.types import GrammarSpec
from workbench.why.lint.finding import CUT, Finding
from workbench.why.source_tree import Leaf, Node, Ref, Repeat, SourceTree, parts, read

SPACES, USUAL = " \t\n\r", [chr(code) for code in range(0x21, 0x7F)]
WORD = re.compile(r"\\(\W|w)", re.DOTALL)


def source_findings(spec: GrammarSpec) -> Iterator[Finding]:
    """Yields the findings of a constraint of any kind but JSON."""
    syntax = read(spec.kind, spec.text)
    if syntax is not None:
        yield from endless(syntax)
    if spec.kind == "regex" and any(found[1] == "w" for found in WORD.finditer(spec.text)):
        yield Finding(
            "narrower", r"\w", r"\w gives a-z, A-Z, 0-9 and _", "letters of other scripts (é, я, 漢) never come from it",
            r"write \p{L} for any letter",
        )  # fmt: skip


def endless(syntax: SourceTree) -> Iterator[Finding]:
    """Yields a finding for each repetition without an end: a count without a limit, or a rule that leads to itself."""
    for node in (part for top in (syntax.root, *syntax.rules.values()) for part in parts(top)):
        if isinstance(node, Repeat) and node.high is None:
            yield _loop(syntax, node.item, syntax.source[slice(*node.span)])
    for name, body in syntax.rules.items():
        if name in _reached(syntax, body) and all(_is_blank(leaf) for leaf in _leaves(syntax, body)):
            yield _loop(syntax, body, name)


def has_end(pattern: str) -> bool:
    """Returns whether all texts of a pattern have a largest length; True if the pattern cannot be read here."""
    syntax = read("regex", pattern)
    return syntax is None or next(endless(syntax), None) is None


def _loop(syntax: SourceTree, body: Node, shown: str) -> Finding:
    leaves = _leaves(syntax, body)
    if leaves and all(map(_is_blank, leaves)):
        why = "small models like to go on with spaces or line breaks until max_new_tokens cuts them"
        return Finding("endless whitespace", shown, "whitespace may go on without end", why, "count it: {0,2} instead of * or +")
    return Finding(
        "runaway", shown, "it may go on without end", CUT.format("text"), "count it: {1,40} instead of + or *"
    )  # fmt: skip


def _is_blank(leaf: Leaf) -> bool:
    return any(map(leaf.accepts, SPACES)) and not any(map(leaf.accepts, USUAL))


def _leaves(syntax: SourceTree, node: Node) -> list[Leaf]:
    bodies = [node, *(syntax.rules[name] for name in _reached(syntax, node))]
    return [part for body in bodies for part in parts(body) if isinstance(part, Leaf)]


def _reached(syntax: SourceTree, node: Node) -> set[str]:
    """Returns the names of the rules that a node leads to."""
    reached: set[str] = set()
    below = [node]
    while below:
        names = {part.name for part in parts(below.pop()) if isinstance(part, Ref)} - reached
        reached |= names
        below += [syntax.rules[name] for name in names]
    return reached
