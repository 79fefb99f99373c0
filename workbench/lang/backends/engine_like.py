"""`EngineLike`: the methods of an engine that programs use. This module imports neither torch nor a tokenizer."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from workbench.config import ServerArgs
from workbench.events import EventLog
from workbench.lang.backends.base import Backend


class EngineLike(Protocol):
    """The methods of an engine that programs use."""

    @property
    def log(self) -> EventLog: ...
    @property
    def tokenizer(self) -> Any: ...
    @property
    def tokenizer_manager(self) -> Any: ...
    @property
    def server_args(self) -> ServerArgs: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def picture_marks(self) -> dict[str, str]: ...
    def generate(self, *args: Any, **options: Any) -> Any: ...
    def abort(self, rid: str) -> None: ...
    def flush_cache(self) -> int: ...
    def get_server_info(self) -> dict[str, Any]: ...


BackendLike: TypeAlias = Backend | EngineLike
"""A backend of programs, or an engine, which makes one."""
