"""The source of a regular expression or an EBNF grammar as a tree; each part has its place in the source.

Explanations use it to name the part of a constraint that a text has reached. The backends alone decide what a constraint allows.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.errors import NotSupported
from workbench.grammar.ebnf import EBNF_CHAR, ebnf_char
from workbench.grammar.regex import python_pattern
from workbench.types import is_ggml_bnf

Span = tuple[int, int]
MAX_COUNT = 100_000


class NotKnown(Exception):
    """The source uses something that this module does not read."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """One character."""

    span: Span
    accepts: Callable[[str], bool]


@dataclass(frozen=True, eq=False)
class Seq:
    """Parts one after the other."""

    items: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Alt:
    """One of several parts."""

    options: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Repeat:
    """A part `low` to `high` times."""

    item: Node
    low: int
    high: int | None
    """None if there is no limit."""
    span: Span


@dataclass(frozen=True, eq=False)
class Ref:
    """A rule by its name."""

    name: str
    span: Span


Node = Leaf | Seq | Alt | Repeat | Ref


@dataclass(frozen=True)
class SourceTree:
    """A constraint's source, its root and its rules by name."""

    source: str
    root: Node
    rules: Mapping[str, Node]


def read_regex(source: str) -> SourceTree:
    """Returns the tree of a regular expression. Raises NotKnown for a construct that this module does not read."""
    flags = re.compile(python_pattern(source)).flags & ~re.UNICODE
    if flags & re.VERBOSE:
        raise NotKnown("a verbose pattern")
    reader = _RegexReader(source)
    root = reader.alternatives(flags)
    if reader.at < len(source):
        raise NotKnown(source[reader.at :])
    return SourceTree(source, root, {})


def read_ebnf(source: str) -> SourceTree:
    """Returns the tree of a grammar in GGML BNF. Raises NotKnown for a construct that this module does not read."""
    rules = _EbnfReader(source).rules()
    if "root" not in rules:
        raise NotKnown("no rule root")
    return SourceTree(source, Ref("root", (0, 0)), rules)


class _Reader:
    """The common part of both notations: alternatives of sequences of parts, each with an optional count."""

    count = re.compile(r"(?:([*+?])|\{(?!\})(\d*)(,?)(\d*)\})\??")

    def __init__(self, source: str) -> None:
        self.source, self.at = source, 0

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.source, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def skip(self) -> None:
        """Moves past blanks and comments between two parts."""

    def atom(self, flags: int) -> Node | None:
        raise NotImplementedError

    def alternatives(self, flags: int = 0) -> Node:
        options = [self.sequence(flags)]
        while self.take(_BAR):
            options.append(self.sequence(flags))
        return options[0] if len(options) == 1 else Alt(tuple(options))

    def sequence(self, flags: int) -> Node:
        items: list[Node] = []
        while True:
            self.skip()
            start = self.at
            atom = self.atom(flags)
            if atom is None:
                return items[0] if len(items) == 1 else Seq(tuple(items))
            while count := self.take(self.count):
                atom = Repeat(atom, *_count(count), (start, self.at))
            items.append(atom)


class _RegexReader(_Reader):
    def sequence(self, flags: int) -> Node:
        """Reads a sequence; neighbouring plain characters are one part, so each of their leaves has the span of all."""
        found = super().sequence(flags)
        if not isinstance(found, Seq):
            return found
        items: list[Node] = []
        for plain, group in itertools.groupby(found.items, self._is_plain):
            leaves = list(group)
            if plain:
                first, last = leaves[0], leaves[-1]
                assert isinstance(first, Leaf)
                assert isinstance(last, Leaf)
                span = first.span[0], last.span[1]
                leaves = [Leaf(span, leaf.accepts) for leaf in leaves if isinstance(leaf, Leaf)]
            items += leaves
        return Seq(tuple(items))

    def _is_plain(self, node: Node) -> bool:
        return isinstance(node, Leaf) and not _SET.match(self.source, node.span[0])

    def atom(self, flags: int) -> Node | None:
        start = self.at
        if self.source[start : start + 1] in ("", "|", ")"):
            return None
        if self.take(_ANCHOR) or self.take(_COMMENT) or self.take(_GLOBAL_FLAGS):
            return Seq(())
        if opened := self.take(_GROUP):
            if opened[1] is None and self.source.startswith("?", self.at):
                raise NotKnown(self.source[start:])
            added = sum(int(getattr(re, letter.upper())) for letter in set(opened[2] or "") - {"u"})
            removed = sum(int(getattr(re, letter.upper())) for letter in set(opened[3] or ""))
            inner = self.alternatives((flags | added) & ~removed)
            if not self.take(_CLOSE):
                raise NotKnown(self.source[start:])
            return inner
        if not self.take(_CHARACTER):
            raise NotKnown(self.source[start:])
        return Leaf((start, self.at), _one_of(self.source[start : self.at], flags))


class _EbnfReader(_Reader):
    count = re.compile(r"(?:([*+?])|\{\s*(\d+)\s*(,?)\s*(\d*)\s*\})")

    def rules(self) -> dict[str, Node]:
        found: dict[str, Node] = {}
        self.skip()
        while self.at < len(self.source):
            head = self.take(_RULE)
            if head is None:
                raise NotKnown(self.source[self.at :])
            found[head[1]] = self.alternatives()
            self.skip()
        for node in found.values():
            for name in _names(node):
                if name not in found:
                    raise NotKnown(name)
        return found

    def skip(self) -> None:
        self.take(_BLANK)

    def atom(self, flags: int) -> Node | None:
        start = self.at
        if literal := self.take(_LITERAL):
            chars = _unescape(literal[1])
            return Seq(tuple(Leaf((start, self.at), char.__eq__) for char in chars))
        if members := self.take(_CLASS):
            return Leaf((start, self.at), _members(members[1], members[2]))
        if self.source.startswith("(", start) and not self.source.startswith("(=", start):
            self.at += 1
            inner = self.alternatives()
            self.skip()
            if not self.take(_CLOSE):
                raise NotKnown(self.source[start:])
            return inner
        if self.take(_DOT):
            return Leaf((start, self.at), lambda char: True)
        if not _RULE.match(self.source, start) and (name := self.take(_NAME)):
            return Ref(name[0], (start, self.at))
        return None


_BAR, _CLOSE = re.compile(r"\|"), re.compile(r"\)")
_ANCHOR = re.compile(r"\^|\$|\\[AZ]")
_COMMENT = re.compile(r"\(\?#[^)]*\)")
_GLOBAL_FLAGS = re.compile(r"\(\?[aimsux]+\)")
_GROUP = re.compile(r"\((\?(?::|P?<[^\W\d]\w*>|([aimsux]*)(?:-([imsx]+))?:))?")
_ESCAPE = r"\\(?:[pP]\{[^{}]*\}|[pP][A-Z]|u\{[\da-fA-F]+\}|x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|N\{[^}]*\}|[0-7]{1,3}|.)"
_CHARACTER = re.compile(rf"\[\^?\]?(?:\\.|[^\]\\])*\]|{_ESCAPE}|[^\\()\[|]", re.DOTALL)
_SET = re.compile(r"\[|\.|\\[dDwWsSpP]")
_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_DOT = re.compile(r"\.(?![\w.-])")
_NAME = re.compile(r"[\w-][\w.-]*")
_RULE = re.compile(r"([\w-][\w.-]*)\s*::=")
_LITERAL = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
_CLASS = re.compile(r"\[(\^?)((?:\\.|[^\]\\])*)\]", re.DOTALL)


def _count(found: re.Match[str]) -> tuple[int, int | None]:
    sign, low, comma, high = found.groups()
    if sign:
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
    most = int(high) if high else None if comma else int(low)
    if max(int(low or 0), most or 0) > MAX_COUNT:
        raise NotKnown(found[0])
    return int(low or 0), most


def _one_of(source: str, flags: int) -> Callable[[str], bool]:
    compiled = re.compile(python_pattern(source), flags)
    return lambda char: compiled.fullmatch(char) is not None


def _members(negated: str, source: str) -> Callable[[str], bool]:
    """Returns the test for a class of GGML BNF: characters and ranges of them."""
    parts = EBNF_CHAR.findall(source)
    ranges: list[tuple[str, str]] = []
    while parts:
        low = ebnf_char(parts.pop(0))
        if len(parts) >= 2 and parts[0] == "-":
            ranges.append((low, ebnf_char(parts[1])))
            del parts[:2]
        else:
            ranges.append((low, low))
    return lambda char: any(low <= char <= high for low, high in ranges) != bool(negated)


def _unescape(source: str) -> str:
    return "".join(map(ebnf_char, EBNF_CHAR.findall(source)))


def _names(node: Node) -> list[str]:
    return [part.name for part in parts(node) if isinstance(part, Ref)]


def parts(node: Node) -> list[Node]:
    """Returns the node and all below it, in the order of the source."""
    below: tuple[Node, ...] = ()
    match node:
        case Seq(items):
            below = items
        case Alt(options):
            below = options
        case Repeat(item=item):
            below = (item,)
    return [node, *(part for child in below for part in parts(child))]


@functools.lru_cache(maxsize=64)
def read(kind: str, source: str) -> SourceTree | None:
    """Returns the tree of a constraint's source; None for kinds and constructs that this module does not read."""
    readers: dict[str, Any] = {"regex": read_regex, "ebnf": read_ebnf}
    if kind == "grammar" and is_ggml_bnf(source):
        kind = "ebnf"
    try:
        return readers[kind](source) if kind in readers else None
    except (NotKnown, NotSupported, RecursionError, re.error, OverflowError):
        return None
