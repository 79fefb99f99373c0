"""The page of the package's files."""

from __future__ import annotations

import ast
from pathlib import Path

from generate.markdown import page, table, words


def modules_page(package: Path) -> str:
    """Writes every module with the first line of its docstring, folder by folder."""
    folders: dict[Path, list[Path]] = {}
    for path in sorted(package.rglob("*.py"), key=lambda path: (path.parent.relative_to(package).parts, path.name)):
        folders.setdefault(path.parent, []).append(path)
    parts: list[str | list[str]] = ["What may import what is drawn in [](../architecture.md)."]
    for folder, paths in folders.items():
        rows = ((f"`{path.name}`", words(first_lines(path))) for path in paths)
        parts += [f"## {'.'.join(folder.relative_to(package.parent).parts)}", table(("file", "what it is"), rows)]
    return page("Modules", *parts)


def first_lines(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
