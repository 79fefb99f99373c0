"""workbench: a language-model engine in a notebook, and the reasons for what it did.

The public names load on first use, so `import workbench` costs a few milliseconds and never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.api import Engine
    from workbench.config import ServerArgs
    from workbench.errors import WorkbenchError
    from workbench.types import SamplingParams

__version__ = "0.1.0"
__all__ = ["Engine", "SamplingParams", "ServerArgs", "WorkbenchError", "load_ipython_extension", "unload_ipython_extension"]

_PUBLIC = {
    "Engine": "workbench.api",
    "SamplingParams": "workbench.types",
    "ServerArgs": "workbench.config",
    "WorkbenchError": "workbench.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    try:
        module = importlib.import_module(_PUBLIC[name])
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("workbench"):
            raise
        raise ImportError(
            f"workbench.{name} needs {error.name}: pip install 'radix-workbench[engine]'", name=error.name
        ) from error
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: Any) -> None:
    """`%load_ext workbench`."""
    importlib.import_module("workbench.magics").load_ipython_extension(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    importlib.import_module("workbench.magics").unload_ipython_extension(ipython)
