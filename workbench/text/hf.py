"""The package transformers, imported when it is needed."""

from __future__ import annotations

import importlib
from typing import Any


def transformers() -> Any:
    """Imports transformers and returns it, in any thread.

    Where another thread is importing it, `from transformers import ...` fails: it waits, and then looks into the module that
    transformers put another one in the place of.
    """
    return importlib.import_module("transformers")
