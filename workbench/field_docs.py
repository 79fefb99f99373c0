"""The docstring under each field of a class, read from its module's source: Python keeps them nowhere else."""

from __future__ import annotations

import ast
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

C = TypeVar("C", bound=type)
Docs = dict[str, str]


def field_docs(cls: type) -> Docs:
    """Returns the docstrings of the fields that this class declares, in one line each; its bases have their own."""
    return _docs_in(cls.__module__)[cls.__name__]


def documented(cls: C) -> C:
    """Adds the docstrings of all fields to the class's own, for `help` and Shift-Tab. They are read when it is asked for."""
    type.__setattr__(cls, "__doc__", _DocWithFields(cls.__doc__ or ""))
    return cls


class _DocWithFields:
    """A `__doc__` that is written on demand: reading the source of a module takes a millisecond."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __get__(self, instance: object, owner: type) -> str:
        docs: Docs = {}
        for cls in owner.__mro__[::-1]:
            if cls.__module__.startswith("workbench."):
                docs |= _docs_in(cls.__module__).get(cls.__name__, {})
        return "\n".join([self._text, "", *(f"{name}: {text}" for name, text in docs.items())])


@cache
def _docs_in(module: str) -> dict[str, Docs]:
    """Returns the field docstrings of every class of a module; none if the module has no source."""
    path = Path(sys.modules[module].__file__ or "")
    tree = ast.parse(path.read_text(encoding="utf-8") if path.suffix == ".py" and path.exists() else "")
    return {node.name: dict(_of_class(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> list[tuple[str, str]]:
    found = []
    for field, doc in pairwise(node.body):
        match field, doc:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found.append((name, " ".join(text.split())))
    return found
