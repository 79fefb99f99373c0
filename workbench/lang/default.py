"""The backend of programs that name none."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, cast

from workbench.errors import NotSupported

if TYPE_CHECKING:  # an engine is opened without them
    from workbench.lang.backends.base import Backend
    from workbench.lang.backends.engine_like import BackendLike, EngineLike

_chosen: Backend | None = None
_engines: list[weakref.ref[EngineLike]] = []


class NoBackend(NotSupported):
    """A program names no backend, and no default exists."""


def set_default_backend(backend: BackendLike | None) -> None:
    """Sets the backend of every later `run` that names none: a backend, or an `Engine`. None clears it."""
    global _chosen
    _chosen = None if backend is None else as_backend(backend)


def default_backend() -> Backend:
    """Returns the backend that was set, else the engine that was loaded last and is still open. Raises NoBackend."""
    if _chosen is not None:
        return _chosen
    for reference in reversed(_engines):
        engine = reference()
        if engine is not None and engine.is_open:
            return as_backend(engine)
    raise NoBackend(
        "no backend is set and no engine is loaded",
        hint="load one (workbench.Engine(), %wb load), or set_default_backend(RuntimeEndpoint(url)), or run(backend=...)",
    )


def engine_opened(engine: EngineLike) -> None:
    """Makes an engine of this process the default, as long as it is open and no other backend is set."""
    _engines[:] = [reference for reference in _engines if reference() is not None]
    _engines.append(weakref.ref(engine))


def as_backend(value: object) -> Backend:
    """Returns a backend as it is, an engine as the backend that it makes. Raises NotSupported for anything else."""
    from workbench.lang.backends.base import Backend

    if isinstance(value, Backend):
        return value
    if isinstance(own := getattr(value, "__dict__", {}).get("endpoint"), Backend):  # a Runtime's; its template may be set
        return own
    if hasattr(value, "tokenizer_manager") and hasattr(value, "generate"):
        from workbench.lang.backends.engine import EngineBackend

        return EngineBackend(cast("EngineLike", value))
    raise NotSupported(
        f"{type(value).__name__} is not a backend",
        hint="an Engine, RuntimeEndpoint(url), OpenAI(model), or a Backend of your own",
    )


def flush_cache(backend: BackendLike | None = None) -> None:
    """Drops the cached prefixes of the backend (without one: the default). Raises BackendLacks if it has no cache."""
    _of(backend).flush_cache()


def get_server_info(backend: BackendLike | None = None) -> dict[str, Any]:
    """Returns facts about the backend (without one: the default). Raises BackendLacks if it has none."""
    return _of(backend).get_server_info()


def _of(backend: BackendLike | None) -> Backend:
    return default_backend() if backend is None else as_backend(backend)
