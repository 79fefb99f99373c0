"""From the text of a request to a processor. Nothing is ever unpickled."""

from __future__ import annotations

import functools
import importlib
import json
import traceback
from typing import Any

import torch

from workbench.errors import InvalidRequest, NotSupported
from workbench.logit_processor.base import CustomLogitProcessor
from workbench.logit_processor.portable import FIELD, FILENAME


def load_processor(text: str, enabled: bool) -> CustomLogitProcessor:
    """Returns the processor that `to_str` wrote. Equal texts give the same object, so its rows are processed in one call.

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
