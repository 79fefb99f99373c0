"""Finds the parts of a constraint that a text has reached: Earley's algorithm over a source tree, one character at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from workbench.why.source_tree import Alt, Leaf, Node, Ref, Repeat, Seq, SourceTree, Span

MAX_ITEMS = 300_000
"""Items of all positions together: about 100 MB."""
Item = tuple[Node, int, int]
"""(node, parts done, position where it began). Done are parts of a sequence, rounds of a repetition, 1 for an alternative."""


class ChartTooLarge(Exception):
    """The text needs more than `MAX_ITEMS` items."""


class Chart:
    """All ways to read a text so far. It takes every grammar: left-recursive, ambiguous, with parts that match nothing."""

    def __init__(self, syntax: SourceTree) -> None:
        self._rules = syntax.rules
        self._start = Seq((syntax.root,))
        self._waiting: list[dict[Node, list[Item]]] = []
        self._leaves: list[list[tuple[Item, Leaf]]] = []
        self._num_items = 0
        self._add({(self._start, 0, 0)})

    def push(self, char: str) -> bool:
        """Moves past a character. Returns False, and changes nothing, if no part takes it. Raises ChartTooLarge."""
        takes: dict[Leaf, bool] = {}
        moved = set()
        for item, leaf in self._leaves[-1]:
            if leaf not in takes:
                takes[leaf] = leaf.accepts(char)
            if takes[leaf]:
                moved.add(_advanced(item))
        if moved:
            self._add(moved)
        return bool(moved)

    def parts(self) -> list[tuple[Span, tuple[str, ...]]]:
        """Returns (span in the source, rules that lead there) for each part that may take the next character."""
        found: dict[Span, tuple[str, ...]] = {}
        for item, leaf in self._leaves[-1]:
            span = item[0].span if isinstance(item[0], Repeat) else leaf.span
            if span not in found:
                found[span] = self._rules_to(item)
        return sorted(found.items())

    def _add(self, items: set[Item]) -> None:
        position = len(self._waiting)
        waiting: dict[Node, list[Item]] = defaultdict(list)
        leaves: list[tuple[Item, Leaf]] = []
        self._waiting.append(waiting)
        self._leaves.append(leaves)
        seen, agenda, empty = set(items), list(items), set()

        def put(item: Item) -> None:
            if item not in seen:
                seen.add(item)
                agenda.append(item)

        while agenda:
            item = agenda.pop()
            node, done, origin = item
            for symbol in self._next(node, done):
                if isinstance(symbol, Leaf):
                    leaves.append((item, symbol))
                    continue
                waiting[symbol].append(item)
                put((symbol, 0, position))
                if symbol in empty and not _is_idle(item):
                    put(_advanced(item))
            if _is_done(node, done):
                if origin == position:
                    empty.add(node)
                for parent in list(self._waiting[origin].get(node, ())):
                    if origin < position or not _is_idle(parent):
                        put(_advanced(parent))
            if self._num_items + len(seen) > MAX_ITEMS:
                raise ChartTooLarge
        self._num_items += len(seen)

    def _next(self, node: Node, done: int) -> tuple[Node, ...]:
        match node:
            case Seq(items):
                return items[done : done + 1]
            case Alt(options):
                return () if done else options
            case Repeat(item=item, high=high):
                return (item,) if high is None or done < high else ()
            case Ref(name=name):
                return () if done else (self._rules[name],)
        return ()

    def _rules_to(self, item: Item) -> tuple[str, ...]:
        """Returns the names of the rules on one way from the start down to the item."""
        seen = {item}
        trail: list[tuple[Item, Iterator[Item]]] = [(item, self._parents(item))]
        while trail and trail[-1][0][0] is not self._start:
            parent = next((p for p in trail[-1][1] if p not in seen), None)
            if parent is None:
                trail.pop()
            else:
                seen.add(parent)
                trail.append((parent, self._parents(parent)))
        return tuple(node.name for (node, _, _), _ in reversed(trail) if isinstance(node, Ref))

    def _parents(self, item: Item) -> Iterator[Item]:
        node, _, origin = item
        return iter(self._waiting[origin].get(node, ()))


def _advanced(item: Item) -> Item:
    node, done, origin = item
    if isinstance(node, Repeat) and node.high is None:
        return node, min(done + 1, node.low), origin
    return node, done + 1, origin


def _is_done(node: Node, done: int) -> bool:
    match node:
        case Seq(items):
            return done == len(items)
        case Repeat(low=low):
            return done >= low
    return done == 1


def _is_idle(item: Item) -> bool:
    """Returns whether one more empty round of a repetition changes nothing."""
    return isinstance(item[0], Repeat) and item[1] >= item[0].low
