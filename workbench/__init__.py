"""workbench: a language-model engine in a notebook, and the reasons for what it did.

The public names load on first use, so `import workbench` costs a few milliseconds and never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.api.engine import Engine as Engine
    from workbench.api.engine import Runtime as Runtime
    from workbench.config import ServerArgs as ServerArgs
    from workbench.errors import WorkbenchError as WorkbenchError
    from workbench.types import SamplingParams as SamplingParams
    from workbench.why.constraint import Grammar as Grammar

__version__ = "0.1.0"

_PUBLIC = {
    **dict.fromkeys(("Engine", "Runtime"), "workbench.api.engine"),
    "Grammar": "workbench.why.constraint",
    "SamplingParams": "workbench.types",
    "ServerArgs": "workbench.config",
    "WorkbenchError": "workbench.errors",
    **dict.fromkeys(("function", "run_batch"), "workbench.lang.program"),
    **dict.fromkeys(("set_default_backend", "flush_cache", "get_server_info"), "workbench.lang.default"),
    **dict.fromkeys(
        ("gen", "gen_int", "gen_string", "select", "image", "video", "system", "user", "assistant", "system_begin", "system_end",
         "user_begin", "user_end", "assistant_begin", "assistant_end"),
        "workbench.lang.verbs",
    ),
    **dict.fromkeys(
        ("token_length_normalized", "greedy_token_selection", "unconditional_likelihood_normalized"), "workbench.lang.choices"
    ),
    "RuntimeEndpoint": "workbench.lang.backends.endpoint",
    "OpenAI": "workbench.lang.backends.openai",
    "Anthropic": "workbench.lang.backends.anthropic",
    "VertexAI": "workbench.lang.backends.vertexai",
    "LiteLLM": "workbench.lang.backends.litellm",
}  # fmt: skip
"""Public name -> the module that has it."""
__all__ = [*_PUBLIC, "load_ipython_extension", "unload_ipython_extension"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    try:
        module = importlib.import_module(_PUBLIC[name])
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("workbench"):
            raise
        from workbench.errors import install

        message = f"workbench.{name} needs {error.name}, of the extra engine (1.2 GB with torch): {install('engine')}"
        raise ImportError(message, name=error.name) from error
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: Any) -> None:
    """`%load_ext workbench`."""
    importlib.import_module("workbench.magics").load_ipython_extension(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    importlib.import_module("workbench.magics").unload_ipython_extension(ipython)
