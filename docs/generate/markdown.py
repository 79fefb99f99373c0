"""Pieces of Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence


def code(text: str) -> str:
    """Returns text as code in a cell of a table."""
    return f"`{text}`".replace("|", "\\|")


def words(text: str) -> str:
    """Returns text for a cell of a table, in one line."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a table; the cells are Markdown."""
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]


def page(title: str, *parts: str | Iterable[str]) -> str:
    """Returns a page of a title and its parts: texts, and lists of lines that stand together."""
    texts = [part.strip() if isinstance(part, str) else "\n".join(part) for part in parts]
    return "\n\n".join([f"# {title}", *texts]) + "\n"


def summary(member: object) -> str:
    """Returns a docstring in one line."""
    return " ".join((inspect.getdoc(member) or "").split())


def type_name(kind: object) -> str:
    """Returns a type as it is written in code."""
    if isinstance(kind, type):
        return kind.__name__
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", str(kind))
