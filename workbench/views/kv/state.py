"""Values that the KV map keeps: owners of pages, and runs of pages that have one owner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

from workbench.html.parts import plural, size

Kind = Literal["free", "tree", "owned"]
KINDS: dict[str, Kind] = {"f": "free", "t": "tree", "o": "owned"}
Owner = str | int
"""A request's id or a node's number."""
OwnedRun = tuple[Owner | None, int]
"""An owner, None for free pages, and the number of its pages in a row."""


@dataclass(frozen=True, slots=True)
class PageRun:
    """Neighbouring pages of one owner: a request's id, a node's number as text, "" for free pages and for several owners."""

    start: int
    length: int
    kind: Kind
    owner: str = ""


@dataclass(slots=True)
class NodePages:
    """A node of the radix tree: its pages, tokens in a page, the request that made it, and the node above it."""

    pages: tuple[int, ...]
    page_size: int
    rid: str
    parent: int


def kind_of(owner: Owner | None) -> tuple[Kind, str]:
    """Returns the kind of a page with this owner, and the owner as text."""
    return ("free", "") if owner is None else ("owned", owner) if isinstance(owner, str) else ("tree", str(owner))


def joined(parts: Iterable[tuple[Kind, str, int]]) -> list[PageRun]:
    """Joins neighbours of one owner. `parts` are (kind, owner, pages) from page 0 on."""
    runs: list[PageRun] = []
    start = 0
    for (kind, owner), same in groupby(parts, key=itemgetter(0, 1)):
        length = sum(length for _, _, length in same)
        runs.append(PageRun(start, length, kind, owner))
        start += length
    return runs


def title_of(num_pages: int, page_size: int, kept: str) -> str:
    """Returns the title of a pool. `kept` is what `kept_as` returns."""
    title = f"KV pool: {plural(num_pages, 'page')} of {plural(page_size, 'token')}"
    return f"{title}, {kept}" if kept else title


def kept_as(info: Mapping[str, Any]) -> str:
    """Returns type and size of the K/V, as "int8, 12.2 KiB a token"; `info` is that of `get_server_info()`."""
    return f"{info['kv_cache_dtype']}, {size(info['kv_bytes_per_token'])} a token" if "kv_bytes_per_token" in info else ""
