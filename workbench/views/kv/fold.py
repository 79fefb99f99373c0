"""Who owns which page of the KV pool, folded from the event log: free, in a node of the tree, or a running request's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, count, groupby, islice, starmap
from operator import itemgetter
from string import ascii_letters
from typing import Any, Literal

from workbench.events import (
    NodeAdded,
    NodeEvicted,
    NodeSplit,
    PagesReturned,
    PagesTaken,
    PathHeld,
    PathReleased,
    RequestFinished,
)
from workbench.html.escape import visible
from workbench.html.parts import View, lines, plural
from workbench.views.fold import Facts, Fold, Handlers
from workbench.views.kv.picture import SEES, kv_html

Kind = Literal["free", "tree", "owned"]
KINDS: dict[str, Kind] = {"f": "free", "t": "tree", "o": "owned"}
Owner = str | int
"""A request's id or a node's number."""
MIN_BLOCK = 32
"""Pages whose runs are found again together when one of them changes hands."""
MAX_BLOCKS = 1024
MAX_PATHS = 100
"""Running requests whose nodes the live view can point out."""
NO_LETTER = "*"
"""On pages of requests when all letters are in use."""
MAX_RUNS = 1100
"""In a picture: above that, a block is drawn as one."""


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring pages of one owner: a request's id, a node's number as text, "" for free pages and for several owners."""

    start: int
    length: int
    kind: Kind
    owner: str = ""


@dataclass(slots=True)
class _Node:
    pages: tuple[int, ...]
    page_size: int
    rid: str
    parent: int


@dataclass(frozen=True, repr=False)
class KVPicture(View):
    """The pool as it is at one moment. `runs` cover the pages from 0 to `shown`; behind that all are free."""

    num_pages: int
    page_size: int
    counts: dict[str, int]
    shown: int
    runs: tuple[Run, ...]
    makers: dict[str, str] = field(default_factory=dict)
    """Node -> the request that computed it."""
    letters: dict[str, str] = field(default_factory=dict)
    """Running request -> the letter on its pages."""
    readers: dict[str, list[str]] = field(default_factory=dict)
    """Node -> the running requests that read it."""
    empty: str = ""
    """While no page was ever used: that, and what one types to change it."""

    def to_text(self) -> str:
        owners = [(kind, owner, f"{pages:,}", f"{pages * self.page_size:,}") for (kind, owner), pages in self.by_owner()]
        rest = [("free", "", f"{self.counts['free']:,}", f"{self.counts['free'] * self.page_size:,}")]
        head = ("state", "owner", "pages", "tokens")
        return visible(self.title) + "\n" + lines(head, [*owners, *rest], numeric=(2, 3))

    def body(self) -> str:
        return kv_html(self)

    def to_dict(self) -> dict[str, Any]:
        return {
            "num_pages": self.num_pages, "page_size": self.page_size, "counts": self.counts,
            "runs": [[run.start, run.length, run.kind, run.owner] for run in self.runs], "shown": self.shown,
        }  # fmt: skip

    @property
    def title(self) -> str:
        return _title(self.num_pages, self.page_size)

    def by_owner(self) -> list[tuple[tuple[Kind, str], int]]:
        """((kind, owner), pages), requests before the tree, the largest first; free pages are left out."""
        sums: dict[tuple[Kind, str], int] = {}
        for run in self.runs:
            if run.kind != "free":
                key = (run.kind, run.owner)
                sums[key] = sums.get(key, 0) + run.length
        return sorted(sums.items(), key=lambda item: (item[0][0], -item[1]))


class KVFold(Fold):
    """Each page is in exactly one place: free, in a node of the tree, or a running request's own."""

    sees = SEES

    def __init__(self, facts: Facts | None = None) -> None:
        super().__init__(facts)
        self.num_pages = self.facts.num_pages
        self.page_size = self.facts.page_size
        self.high = 0
        """Pages that were ever in use: those from here on have never left the pool."""
        self._owner: dict[int, Owner] = {}
        """Free pages are missing."""
        self._nodes: dict[int, _Node] = {}
        self._num_tree = 0
        self._places: dict[str, int] = {}
        """Request that took pages -> its place among those, the lowest that was free."""
        self._held: dict[str, int] = {}
        """Running request -> the node its path in the tree ends at."""
        self._block_len = max(MIN_BLOCK, -(-self.num_pages // MAX_BLOCKS))
        self._blocks: list[list[tuple[Owner | None, int]]] = []
        """Of each block, owners and how many pages in a row each has."""
        self._words: list[str] = []
        """Each block as in a state; "" until it is asked for."""
        self._mostly: list[str] = []
        """Each block as if all of it were of the kind that most of its pages have; "" until it is asked for."""
        self._num_runs = 0
        self._dirty: set[int] = set()

    # -- folding ------------------------------------------------------------------------------------------------

    def handlers(self) -> Handlers:
        return {
            PagesTaken: self._taken, PagesReturned: self._returned, NodeAdded: self._added, NodeSplit: self._split,
            NodeEvicted: self._evicted, PathHeld: self._hold, PathReleased: self._release, RequestFinished: self._finished,
        }  # fmt: skip

    def _taken(self, event: PagesTaken) -> None:
        for taken in event.taken:
            if taken.rid not in self._places:
                used = set(self._places.values())
                self._places[taken.rid] = next(place for place in count() if place not in used)
            self._give(taken.pages, taken.rid)

    def _returned(self, event: PagesReturned) -> None:
        self._free(event.pages)

    def _finished(self, event: RequestFinished) -> None:
        self._places.pop(event.rid, None)

    def _hold(self, event: PathHeld) -> None:
        self._held[event.rid] = event.node_id

    def _release(self, event: PathReleased) -> None:
        self._held.pop(event.rid, None)

    def _added(self, event: NodeAdded) -> None:
        self._nodes[event.node_id] = _Node(event.pages, len(event.token_ids) // len(event.pages), event.rid, event.parent_id)
        self._num_tree += len(event.pages)
        self._give(event.pages, event.node_id)

    def _split(self, event: NodeSplit) -> None:
        if (node := self._nodes.get(event.node_id)) is not None:
            num_head = event.num_head // node.page_size
            head, node.pages = node.pages[:num_head], node.pages[num_head:]
            self._nodes[event.head_id] = _Node(head, node.page_size, node.rid, node.parent)
            node.parent = event.head_id
            self._give(head, event.head_id)

    def _evicted(self, event: NodeEvicted) -> None:
        if (node := self._nodes.pop(event.node_id, None)) is not None:
            self._num_tree -= len(node.pages)
            self._free(node.pages)

    def _give(self, pages: tuple[int, ...], owner: Owner) -> None:
        for page in pages:
            self._owner[page] = owner
            self._dirty.add(page // self._block_len)
        self.high = max(self.high, max(pages) + 1)

    def _free(self, pages: Iterable[int]) -> None:
        for page in pages:
            self._owner.pop(page, None)
            self._dirty.add(page // self._block_len)

    # -- questions ----------------------------------------------------------------------------------------------

    @property
    def counts(self) -> dict[str, int]:
        """Pages by kind; the sum is `num_pages`."""
        return {"free": self.num_pages - len(self._owner), "tree": self._num_tree, "owned": len(self._owner) - self._num_tree}

    def owner(self, page: int) -> tuple[Kind, str]:
        """("owned", request), ("tree", node) or ("free", "")."""
        return _kind(self._owner.get(page))

    def owners(self) -> dict[int, Owner]:
        """Page -> request (text) or node (number), without the free pages."""
        return dict(self._owner)

    def pages(self, owner: Owner) -> tuple[int, ...]:
        """The pages of a request's own (text), or of a node (number), ascending."""
        if isinstance(owner, int):
            return tuple(sorted(self._nodes[owner].pages)) if owner in self._nodes else ()
        return tuple(sorted(page for page, found in self._owner.items() if found == owner))

    def path(self, rid: str) -> list[int]:
        """Nodes of the tree that a running request reads, from the root down; nothing of them can be evicted meanwhile."""
        nodes: list[int] = []
        node_id = self._held.get(rid, 0)
        while (node := self._nodes.get(node_id)) is not None:
            nodes.append(node_id)
            node_id = node.parent
        return nodes[::-1]

    def readers(self) -> dict[int, list[str]]:
        """Node -> the running requests that read it."""
        found: dict[int, list[str]] = {}
        for rid in self._held:
            for node_id in self.path(rid):
                found.setdefault(node_id, []).append(rid)
        return found

    def runs(self) -> list[Run]:
        """All pages from 0 to `high`, neighbours of one owner together."""
        self._refresh()
        return _joined((*_kind(owner), length) for owner, length in chain.from_iterable(self._blocks))

    def _refresh(self) -> None:
        num_new = -(-self.high // self._block_len) - len(self._blocks)
        self._dirty.update(range(len(self._blocks), len(self._blocks) + num_new))
        self._blocks += [[] for _ in range(num_new)]
        self._words += [""] * num_new
        self._mostly += [""] * num_new
        for block in self._dirty:
            start = block * self._block_len
            stop = min(start + self._block_len, max(self.num_pages, self.high))
            runs = [(owner, len(list(same))) for owner, same in groupby(map(self._owner.get, range(start, stop)))]
            self._num_runs += len(runs) - len(self._blocks[block])
            self._blocks[block], self._words[block], self._mostly[block] = runs, "", ""
        self._dirty.clear()

    def _in_words(self, block: int) -> str:
        return " ".join(starmap(self._word, self._blocks[block]))

    def _in_one_word(self, block: int) -> str:
        lengths = dict.fromkeys(KINDS, 0)
        for owner, length in self._blocks[block]:
            lengths[_kind(owner)[0][0]] += length
        return f"{sum(lengths.values())}{max(lengths, key=lambda kind: lengths[kind])}"

    # -- pictures -----------------------------------------------------------------------------------------------

    @property
    def empty(self) -> str:  # type: ignore[override]
        return "" if self.high else f"Nothing is in it yet. Try {self.facts.begins}"

    def picture(self) -> KVPicture:
        runs = self._shown()
        makers = {run.owner: self._nodes[int(run.owner)].rid for run in runs if run.kind == "tree" and run.owner}
        readers = {str(node_id): rids for node_id, rids in self.readers().items()}
        letters = {rid: _letter(place) for rid, place in self._places.items()}
        last = runs[-1].start + runs[-1].length if runs else 0
        return KVPicture(
            self.num_pages, self.page_size, self.counts, last, tuple(runs), makers, letters, readers, self.empty
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """`runs` in one text, "length kind owner" each: a node's number, or the place of a request's id in `names`, "" for none.
        Neighbours may have one owner."""
        self._refresh()
        paths = {rid: self.path(rid) for rid in islice(self._held, MAX_PATHS)}
        words = self._coarse() if self._is_crowded else self._fine()
        names = [""] * (1 + max(self._places.values(), default=-1))
        for rid, place in self._places.items():
            names[place] = rid
        return {
            "title": _title(self.num_pages, self.page_size), "num_pages": self.num_pages, "page_size": self.page_size,
            "counts": self.counts, "runs": " ".join(words), "names": names, "letters": [*map(_letter, range(len(names)))],
            "paths": paths,
        }  # fmt: skip

    def _word(self, owner: Owner | None, length: int) -> str:
        kind, name = _kind(owner)
        return f"{length}{kind[0]}{self._places.get(name, '') if kind == 'owned' else name}"

    @property
    def _is_crowded(self) -> bool:
        return self._num_runs > MAX_RUNS

    def _fine(self) -> list[str]:
        self._words = [words or self._in_words(block) for block, words in enumerate(self._words)]
        return self._words

    def _coarse(self) -> list[str]:
        self._mostly = [word or self._in_one_word(block) for block, word in enumerate(self._mostly)]
        return self._mostly

    def _shown(self) -> list[Run]:
        """`runs`, or where they are too many to draw, blocks of pages, each of the kind that most of its pages have."""
        self._refresh()
        if not self._is_crowded:
            return self.runs()
        sizes = ((word[-1], int(word[:-1])) for word in self._coarse())
        return _joined((KINDS[kind], "", length) for kind, length in sizes)


def _joined(parts: Iterable[tuple[Kind, str, int]]) -> list[Run]:
    """(kind, owner, pages) from page 0 on, neighbours of one owner together."""
    runs: list[Run] = []
    start = 0
    for (kind, owner), same in groupby(parts, key=itemgetter(0, 1)):
        length = sum(length for _, _, length in same)
        runs.append(Run(start, length, kind, owner))
        start += length
    return runs


def _kind(owner: Owner | None) -> tuple[Kind, str]:
    return ("free", "") if owner is None else ("owned", owner) if isinstance(owner, str) else ("tree", str(owner))


def _title(num_pages: int, page_size: int) -> str:
    return f"KV pool: {plural(num_pages, 'page')} of {plural(page_size, 'token')}"


def _letter(place: int) -> str:
    return ascii_letters[place] if place < len(ascii_letters) else NO_LETTER
