"""The docstring under each field of a class, read from its module's source: Python keeps them nowhere else."""

from __future__ import annotations

import ast
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

Docs = dict[str, str]


def field_docs(cls: type) -> Docs:
    """Returns the docstrings of the fields that this class declares, in one line each; its bases have their own."""
    return _docs_in(cls.__module__)[cls.__name__]


@cache
def _docs_in(module: str) -> dict[str, Docs]:
    """Returns the field docstrings of every class of a module."""
    path = sys.modules[module].__file__
    assert path is not None
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    return {node.name: dict(_of_class(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> list[tuple[str, str]]:
    found = []
    for field, doc in pairwise(node.body):
        match field, doc:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found.append((name, " ".join(text.split())))
    return found
