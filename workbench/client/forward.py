"""`EngineCalls` made of one function that starts a call elsewhere: on the engine's thread, or in its process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import wraps
from typing import Any, Protocol, cast

from workbench.client.protocol import EngineCalls, calls_of


class Start(Protocol):
    """Starts a method of a protocol with these arguments. The future holds its result or its error."""

    def __call__(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]: ...


def forwarding(start: Start) -> EngineCalls:
    """Returns an object whose every method starts that call with `start` and waits for the answer."""
    return cast("EngineCalls", _Forwarding(start))


class _Forwarding:
    def __init__(self, start: Start) -> None:
        self._start = start


def _method(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def forwarded(self: _Forwarding, *args: Any, **kwargs: Any) -> Any:
        return self._start(call, *args, **kwargs).result()

    return forwarded


for _name, _call in calls_of(EngineCalls).items():
    setattr(_Forwarding, _name, _method(_call))
