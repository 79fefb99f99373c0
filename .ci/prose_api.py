"""Checks that the public functions of the package say what they do, what they return and which errors they raise."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
Entry = tuple[Path, int, str]


def api_findings(root: Path) -> Iterator[Entry]:
    """Yields (file, line, finding) for every public name of `workbench`, base classes included."""
    spec = importlib.util.spec_from_file_location("workbench_names", root / "workbench/__init__.py")
    assert spec is not None
    assert spec.loader is not None
    names = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(names)
    seen = set[Entry]()
    for name, module in names._PUBLIC.items():
        for entry in of_name(root, module, name):
            if entry not in seen:
                seen.add(entry)
                yield entry


@cache
def parse(root: Path, module: str) -> tuple[Path, ast.Module] | None:
    """Returns the file and the tree of a module; None for one of another package."""
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if module.startswith("workbench") and path.is_file():
            return path, ast.parse(path.read_text(encoding="utf-8"))
    return None


def of_name(root: Path, module: str, name: str) -> Iterator[Entry]:
    """Yields the findings of a function or class, wherever the module has it from."""
    parsed = parse(root, module)
    if parsed is None:
        return
    path, tree = parsed
    for node in tree.body:
        if isinstance(node, Function) and node.name == name:
            yield from ((path, *found) for found in of_function(node, name))
        elif isinstance(node, ast.ClassDef) and node.name == name:
            yield from of_class(root, module, path, node)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    yield from of_name(root, node.module, alias.name)


def of_class(root: Path, module: str, path: Path, node: ast.ClassDef) -> Iterator[Entry]:
    """Yields the findings of a class's public methods and properties."""
    if ast.get_docstring(node) is None:
        yield path, node.lineno, f"the public class {node.name} has no docstring"
    for method in node.body:
        if isinstance(method, Function) and not method.name.startswith("_"):
            yield from ((path, *found) for found in of_function(method, f"{node.name}.{method.name}"))
    for base in node.bases:
        yield from of_name(root, module, ast.unparse(base).split("[")[0])


def of_function(node: Function, name: str) -> Iterator[tuple[int, str]]:
    """Yields (line, finding) for one function."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    if any(word in decorator for decorator in decorators for word in ("overload", "setter", "deleter")):
        return
    text = ast.get_docstring(node)
    if text is None:
        yield node.lineno, f"the public function {name} has no docstring"
        return
    is_property = any("property" in decorator for decorator in decorators)
    returned = ast.unparse(node.returns) if node.returns else "None"
    if (
        not is_property
        and returned not in ("None", "NoReturn", "Self")
        and not re.search(r"\b(?:return|yield)", text, re.IGNORECASE)
    ):
        yield node.lineno, f"the docstring of {name} does not say what it returns ({returned})"
    raised = sorted({error for part in own_nodes(node) if isinstance(part, ast.Raise) and (error := error_of(part))})
    missing = [error for error in raised if error not in text]
    if missing:
        yield node.lineno, f"the docstring of {name} does not name the errors it raises: {', '.join(missing)}"


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yields the nodes of a function without those of functions in it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, Function | ast.Lambda):
            yield from own_nodes(child)


def error_of(node: ast.Raise) -> str | None:
    """Returns the class a statement raises; None where a variable holds it, or Python prescribes it."""
    if node.exc is None:
        return None
    called = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    name = called.attr if isinstance(called, ast.Attribute) else ast.unparse(called)
    is_class = name[:1].isupper() and name not in ("AttributeError", "StopIteration", "NotImplementedError")
    return name if is_class else None
