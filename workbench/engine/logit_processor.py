"""Custom logit processors: Python code that a request brings along to edit the logits of its rows.

Such code runs inside the engine with all of the engine's rights: it can read files, open connections and stop the
process. So it is refused unless the engine was started with `enable_custom_logit_processor=True`. It travels as
JSON, an import path or source code; nothing is ever unpickled.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import dis
import functools
import importlib
import importlib.util
import json
import linecache
import sys
import textwrap
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any

import torch
from torch import Tensor

from workbench.errors import InvalidRequest, NotSupported

FIELD = "custom_logit_processor"
FILENAME = "<custom logit processor>"


class CustomLogitProcessor(ABC):
    """Subclass this, then send `YourProcessor().to_str()` with the request as `custom_logit_processor`.

    One instance serves all requests with the same text, so it must keep nothing of a request in its attributes.
    """

    @abstractmethod
    def __call__(self, logits: Tensor, custom_param_list: list[dict[str, Any]]) -> Tensor:
        """Gives the edited logits. `logits` [n, V] may be changed in place; `custom_param_list[i]` is row i's `custom_params`."""

    def to_str(self) -> str:
        """JSON text for the field `custom_logit_processor`: where the class is, or its source, and the attributes.

        A class that only this process knows, such as one defined in a notebook cell, goes as source with the imports
        and plain constants it uses. Raises InvalidRequest when something cannot travel, and names it.
        """
        cls = type(self)
        data: dict[str, Any] = {"class": cls.__qualname__}
        if _is_importable(cls):
            data["module"] = cls.__module__
        else:
            data["source"] = _portable_source(cls)
        if state := vars(self):
            data["state"] = _as_json(state)
        return json.dumps(data)


def load_processor(text: str, enabled: bool) -> CustomLogitProcessor:
    """The processor that `to_str` wrote. Equal texts give the same object, so its rows are processed in one call.

    Raises NotSupported unless `enabled`, and InvalidRequest for a text, import or source that does not work.
    """
    if not enabled:
        raise NotSupported(
            "this engine does not run custom logit processors, which are code with the engine's own rights",
            hint="start it with enable_custom_logit_processor=True if you trust everyone who can send it requests",
        )
    try:
        data = json.loads(text)
        name, module, source = data["class"], data.get("module"), data.get("source")
        state = json.dumps(data.get("state", {}), sort_keys=True)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidRequest(FIELD, text, f"the text that to_str() gives ({error!r})") from None
    cls = _import(module, name) if module else _execute(str(source), name)
    return _instance(cls, state)


@functools.lru_cache(maxsize=128)
def _instance(cls: type[CustomLogitProcessor], state: str) -> CustomLogitProcessor:
    processor = cls.__new__(cls)
    vars(processor).update(json.loads(state))
    return processor


def _import(module: str, name: str) -> type[CustomLogitProcessor]:
    try:
        found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except Exception as error:
        limit = f"importable where the engine runs ({type(error).__name__}: {error})"
        raise InvalidRequest(FIELD, f"{module}:{name}", limit) from error
    return _checked(found, f"{module}:{name}")


@functools.lru_cache(maxsize=128)
def _execute(source: str, name: str) -> type[CustomLogitProcessor]:
    namespace: dict[str, Any] = {"__name__": FILENAME, "torch": torch, "CustomLogitProcessor": CustomLogitProcessor}
    try:
        exec(compile(source, FILENAME, "exec"), namespace)
    except SyntaxError as error:
        raise InvalidRequest(FIELD, name, f"valid Python (line {error.lineno}: {error.msg})") from None
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILENAME]
        where = f"line {lines[-1]}: " if lines else ""
        raise InvalidRequest(FIELD, name, f"source that runs ({where}{type(error).__name__}: {error})") from error
    return _checked(namespace.get(name), name)


def _checked(found: Any, name: str) -> type[CustomLogitProcessor]:
    if not (isinstance(found, type) and issubclass(found, CustomLogitProcessor)) or getattr(found, "__abstractmethods__", None):
        raise InvalidRequest(FIELD, name, "a subclass of CustomLogitProcessor that has __call__")
    return found


def _is_importable(value: Any) -> bool:
    """Whether another process finds this very object under the module and name it carries."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    try:
        if not module or not name or module == "__main__" or importlib.util.find_spec(module) is None:
            return False
        return functools.reduce(getattr, name.split("."), sys.modules[module]) is value
    except (AttributeError, ImportError, KeyError, ValueError):
        return False


def _as_json(state: dict[str, Any]) -> dict[str, Any]:
    for name, value in state.items():
        try:
            same = json.loads(json.dumps(value)) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            hint = "pass it in custom_params, or build it in __call__"
            raise InvalidRequest(f"{FIELD}.{name}", value, "a value that JSON can carry", hint=hint)
    return state


def _portable_source(cls: type) -> str:
    """The class statement, after lines that define the globals it uses."""
    source = _class_source(cls)
    known = {*dir(builtins), cls.__name__, "torch", "CustomLogitProcessor"}
    module = cls.__call__.__globals__  # type: ignore[attr-defined]
    used = {name for name in _globals_of(compile(source, FILENAME, "exec")) if name not in known and not name.startswith("__")}
    return "\n".join([*(_definition(name, module) for name in sorted(used)), source])


def _class_source(cls: type) -> str:
    """Found through its own `__call__`: `inspect` looks for a class's file, and a notebook cell has none."""
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
    """A line that gives `name` the value it has in `module`."""
    value = module.get(name)
    if isinstance(value, ModuleType):
        package, _, last = value.__name__.rpartition(".")
        return f"from {package} import {last} as {name}" if package else f"import {last} as {name}"
    if _is_importable(value) and "." not in value.__qualname__:
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
