"""Python source that another process can run: of a class, with the imports and constants it uses."""

from __future__ import annotations

import ast
import builtins
import contextlib
import dis
import functools
import importlib.util
import linecache
import sys
import textwrap
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any

from workbench.errors import InvalidRequest

FIELD = "custom_logit_processor"
FILENAME = "<custom logit processor>"
KNOWN = ("torch", "CustomLogitProcessor")
"""Names that the source may use without defining them."""


def is_importable(value: Any) -> bool:
    """Returns whether another process finds this very object under the module and name it carries."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    try:
        if not module or not name or module == "__main__" or importlib.util.find_spec(module) is None:
            return False
        return functools.reduce(getattr, name.split("."), sys.modules[module]) is value
    except (AttributeError, ImportError, KeyError, ValueError):
        return False


def portable_source(cls: type) -> str:
    """Returns the class statement, after lines that define the globals it uses."""
    source = _class_source(cls)
    known = {*dir(builtins), cls.__name__, *KNOWN}
    module = cls.__call__.__globals__
    used = {name for name in _globals_of(compile(source, FILENAME, "exec")) if name not in known and not name.startswith("__")}
    return "\n".join([*(_definition(name, module) for name in sorted(used)), source])


def _class_source(cls: type) -> str:
    """Finds the class statement through its own `__call__`: `inspect` needs a class's file, and a notebook cell has none."""
    code = getattr(vars(cls).get("__call__"), "__code__", None)
    text, line = ("".join(linecache.getlines(code.co_filename)), code.co_firstlineno) if code else ("", 0)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__ and node.lineno <= line <= (node.end_lineno or 0):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return textwrap.dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))
    hint = "define it in a notebook cell or a module"
    raise InvalidRequest(FIELD, cls.__qualname__, "a class with its own __call__ whose source can be found", hint=hint)


def _globals_of(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_of(constant)


def _definition(name: str, module: dict[str, Any]) -> str:
    """Returns a line that gives `name` the value it has in `module`."""
    value = module.get(name)
    if isinstance(value, ModuleType):
        package, _, last = value.__name__.rpartition(".")
        return f"from {package} import {last} as {name}" if package else f"import {last} as {name}"
    if value is not None and is_importable(value) and "." not in value.__qualname__:
        return f"from {value.__module__} import {value.__qualname__} as {name}"
    with contextlib.suppress(ValueError, SyntaxError):
        if name in module and ast.literal_eval(repr(value)) == value:
            return f"{name} = {value!r}"
    raise InvalidRequest(
        FIELD,
        name,
        "a module, something importable or a plain constant, to go along with the class that uses it",
        hint="define it inside the class, or put both into a module",
    )
