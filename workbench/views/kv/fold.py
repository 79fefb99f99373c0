"""The KV pool as a fold over the event log: each page is free, in a node of the tree, or a running request's own."""

from __future__ import annotations

from itertools import count, islice
from string import ascii_letters
from typing import Any

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
from workbench.views.fold import Facts, Fold, Handlers
from workbench.views.kv.drawn import Blocks
from workbench.views.kv.picture import SEES, KVPicture
from workbench.views.kv.state import Kind, NodePages, Owner, PageRun, kept_as, kind_of, title_of

MAX_PATHS = 100
"""Running requests whose nodes the live view can point out."""
NO_LETTER = "*"
"""Letter on pages of requests when all letters are in use."""


class KVFold(Fold[KVPicture]):
    """The owner of each page: a request for its own pages, a node for those in the tree. Free pages have none."""

    sees = SEES

    def __init__(self, facts: Facts | None = None) -> None:
        super().__init__(facts)
        self.num_pages = self.facts.num_pages
        self.page_size = self.facts.page_size
        self.high = 0
        """First page that has never been in use, nor has any after it."""
        self._owner: dict[int, Owner] = {}
        """Owners by page, without the free pages."""
        self._nodes: dict[int, NodePages] = {}
        self._num_tree = 0
        self._places: dict[str, int] = {}
        """Place of each request that took pages: the lowest that was free. A letter stands for it."""
        self._held: dict[str, int] = {}
        """Node at which the path of each running request ends."""
        self._blocks = Blocks(self.num_pages, self._word)

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
        self._nodes[event.node_id] = NodePages(event.pages, len(event.token_ids) // len(event.pages), event.rid, event.parent_id)
        self._num_tree += len(event.pages)
        self._give(event.pages, event.node_id)

    def _split(self, event: NodeSplit) -> None:
        if (node := self._nodes.get(event.node_id)) is not None:
            num_head = event.num_head // node.page_size
            head, node.pages = node.pages[:num_head], node.pages[num_head:]
            self._nodes[event.head_id] = NodePages(head, node.page_size, node.rid, node.parent)
            node.parent = event.head_id
            self._give(head, event.head_id)

    def _evicted(self, event: NodeEvicted) -> None:
        if (node := self._nodes.pop(event.node_id, None)) is not None:
            self._num_tree -= len(node.pages)
            self._free(node.pages)

    def _give(self, pages: tuple[int, ...], owner: Owner) -> None:
        dirty, length = self._blocks.dirty, self._blocks.length
        for page in pages:
            self._owner[page] = owner
            dirty.add(page // length)
        self.high = max(self.high, max(pages) + 1)

    def _free(self, pages: tuple[int, ...]) -> None:
        dirty, length = self._blocks.dirty, self._blocks.length
        for page in pages:
            self._owner.pop(page, None)
            dirty.add(page // length)

    # -- questions ----------------------------------------------------------------------------------------------

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of pages by kind; their sum is `num_pages`."""
        return {"free": self.num_pages - len(self._owner), "tree": self._num_tree, "owned": len(self._owner) - self._num_tree}

    def owner(self, page: int) -> tuple[Kind, str]:
        """Returns the owner of a page: ("owned", request), ("tree", node) or ("free", "")."""
        return kind_of(self._owner.get(page))

    def owners(self) -> dict[int, Owner]:
        """Returns the owner of each page that is not free: a request (text) or a node (number)."""
        return dict(self._owner)

    def pages(self, owner: Owner) -> tuple[int, ...]:
        """Returns a request's own pages (text), or a node's (number), ascending."""
        if isinstance(owner, int):
            return tuple(sorted(self._nodes[owner].pages)) if owner in self._nodes else ()
        return tuple(sorted(page for page, found in self._owner.items() if found == owner))

    def path(self, rid: str) -> list[int]:
        """Returns the nodes that a running request reads, from the root down. None of them can be evicted meanwhile."""
        nodes: list[int] = []
        node_id = self._held.get(rid, 0)
        while (node := self._nodes.get(node_id)) is not None:
            nodes.append(node_id)
            node_id = node.parent
        return nodes[::-1]

    def readers(self) -> dict[int, list[str]]:
        """Returns the running requests that read each node."""
        found: dict[int, list[str]] = {}
        for rid in self._held:
            for node_id in self.path(rid):
                found.setdefault(node_id, []).append(rid)
        return found

    def runs(self) -> list[PageRun]:
        """Returns all pages from 0 to `high` as runs of one owner."""
        self._refresh()
        return self._blocks.runs()

    def _refresh(self) -> None:
        self._blocks.refresh(self._owner, self.high)

    # -- pictures -----------------------------------------------------------------------------------------------

    @property
    def empty(self) -> str:
        return "" if self.high else f"Nothing is in it yet: {self.facts.advice.begins}"

    def picture(self) -> KVPicture:
        self._refresh()
        runs = self._blocks.shown()
        makers = {run.owner: self._nodes[int(run.owner)].rid for run in runs if run.kind == "tree" and run.owner}
        readers = {str(node_id): rids for node_id, rids in self.readers().items()}
        letters = {rid: _letter(place) for rid, place in self._places.items()}
        last = runs[-1].start + runs[-1].length if runs else 0
        return KVPicture(
            num_pages=self.num_pages,
            page_size=self.page_size,
            counts=self.counts,
            shown=last,
            runs=tuple(runs),
            makers=makers,
            letters=letters,
            readers=readers,
            empty=self.empty,
            kept=kept_as(self.facts.info),
        )

    def state(self) -> dict[str, Any]:
        """Returns what is drawn. `runs` is one text of "length kind owner" words: the owner is a node's number, the place of a
        request's id in `names`, or "" for none. Neighbours may have one owner."""
        self._refresh()
        paths = {rid: self.path(rid) for rid in islice(self._held, MAX_PATHS)}
        names = [""] * (1 + max(self._places.values(), default=-1))
        for rid, place in self._places.items():
            names[place] = rid
        return {
            "title": title_of(self.num_pages, self.page_size, kept_as(self.facts.info)), "num_pages": self.num_pages,
            "page_size": self.page_size, "counts": self.counts, "runs": self._blocks.words(), "names": names,
            "letters": [*map(_letter, range(len(names)))], "paths": paths,
        }  # fmt: skip

    def _word(self, owner: Owner | None, length: int) -> str:
        kind, name = kind_of(owner)
        return f"{length}{kind[0]}{self._places.get(name, '') if kind == 'owned' else name}"


def _letter(place: int) -> str:
    return ascii_letters[place] if place < len(ascii_letters) else NO_LETTER
