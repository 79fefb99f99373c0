"""workbench: a language-model engine in a notebook, and the reasons for what it did.

The public names load on first use, so `import workbench` costs a few milliseconds and never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.api.attach import Attached as Attached
    from workbench.api.attach import attach as attach
    from workbench.api.engine import Engine as Engine
    from workbench.api.engine import Runtime as Runtime
    from workbench.config import ServerArgs as ServerArgs
    from workbench.errors import WorkbenchError as WorkbenchError
    from workbench.lang.backends.anthropic import Anthropic as Anthropic
    from workbench.lang.backends.endpoint import RuntimeEndpoint as RuntimeEndpoint
    from workbench.lang.backends.litellm import LiteLLM as LiteLLM
    from workbench.lang.backends.openai import OpenAI as OpenAI
    from workbench.lang.backends.vertexai import VertexAI as VertexAI
    from workbench.lang.choices import greedy_token_selection as greedy_token_selection
    from workbench.lang.choices import token_length_normalized as token_length_normalized
    from workbench.lang.choices import unconditional_likelihood_normalized as unconditional_likelihood_normalized
    from workbench.lang.default import flush_cache as flush_cache
    from workbench.lang.default import get_server_info as get_server_info
    from workbench.lang.default import set_default_backend as set_default_backend
    from workbench.lang.program import function as function
    from workbench.lang.program import run_batch as run_batch
    from workbench.lang.verbs import assistant as assistant
    from workbench.lang.verbs import assistant_begin as assistant_begin
    from workbench.lang.verbs import assistant_end as assistant_end
    from workbench.lang.verbs import gen as gen
    from workbench.lang.verbs import gen_int as gen_int
    from workbench.lang.verbs import gen_string as gen_string
    from workbench.lang.verbs import image as image
    from workbench.lang.verbs import select as select
    from workbench.lang.verbs import system as system
    from workbench.lang.verbs import system_begin as system_begin
    from workbench.lang.verbs import system_end as system_end
    from workbench.lang.verbs import user as user
    from workbench.lang.verbs import user_begin as user_begin
    from workbench.lang.verbs import user_end as user_end
    from workbench.lang.verbs import video as video
    from workbench.native.results import Completion as Completion
    from workbench.native.results import MetaInfo as MetaInfo
    from workbench.server.thread import serve as serve
    from workbench.types import SamplingParams as SamplingParams
    from workbench.why.constraint import Grammar as Grammar

__version__ = "0.1.0"

_PUBLIC = {
    **dict.fromkeys(("Engine", "Runtime"), "workbench.api.engine"),
    **dict.fromkeys(("Attached", "attach"), "workbench.api.attach"),
    "serve": "workbench.server.thread",
    "Grammar": "workbench.why.constraint",
    **dict.fromkeys(("Completion", "MetaInfo"), "workbench.native.results"),
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


if not TYPE_CHECKING:  # a type checker would take any name for public

    def __getattr__(name: str) -> Any:
        if name not in _PUBLIC:
            raise AttributeError(f"module 'workbench' has no attribute {name!r}")
        try:
            module = _import(_PUBLIC[name])
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


def _import(name: str) -> Any:
    from workbench.kernels.quick_imports import quick_imports

    with quick_imports():
        return importlib.import_module(name)


def load_ipython_extension(ipython: Any) -> None:
    """Registers the magics: `%load_ext workbench`."""
    _import("workbench.magics").load_ipython_extension(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    _import("workbench.magics").unload_ipython_extension(ipython)
