"""The common beginning of a batch of programs, found by running the function with stand-ins for its inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn

from workbench.lang.backend_calls import warm
from workbench.lang.backends.base import Backend
from workbench.lang.nodes import Image, ProgramNode, RoleBegin, RoleEnd, Text, VarBegin, VarEnd, Video
from workbench.lang.prompt import Part, Prompt
from workbench.lang.state import ProgramState

MARK = "\x00workbench input\x00"
"""The text of a stand-in: the common prefix ends here."""


TRACED = object()
"""Mark of a trace, in which no backend may be called."""
running_on: ContextVar[Any] = ContextVar("workbench_running_on", default=None)
"""The backend of the program whose body runs, or `TRACED` during a trace."""


class StopTracing(BaseException):
    """The end of the common prefix: a generation, or a use of an input."""


class StandIn(ProgramNode):
    """An input that differs between the programs. Its text is `MARK`; any other use ends the trace."""

    def __str__(self) -> str:
        return MARK

    def __format__(self, spec: str) -> str:
        return MARK

    def _stop(self, *_: Any, **__: Any) -> NoReturn:
        raise StopTracing

    __getattr__ = __getitem__ = __iter__ = __len__ = __bool__ = __contains__ = __call__ = _stop
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __int__ = __float__ = __mod__ = __mul__ = _stop
    __hash__ = _stop
    __repr__ = __str__


class Tracer:
    """Takes the place of an executor: keeps literal parts, and stops at the first node that is not literal."""

    def __init__(self) -> None:
        self.parts: tuple[Part, ...] = ()

    def submit(self, node: ProgramNode, place: Any) -> None:
        match node:
            case Text(value):
                text, mark, _ = value.partition(MARK)
                self.parts += (Text(text),) if text else ()
                if mark:
                    raise StopTracing
            case RoleBegin() | RoleEnd() | Image() | Video():
                self.parts += (node,)
            case VarBegin() | VarEnd():
                pass
            case _:
                raise StopTracing

    def __getattr__(self, name: str) -> NoReturn:
        raise StopTracing


def common_prefix(func: Callable[..., Any], inputs: Sequence[Mapping[str, Any]]) -> Prompt:
    """Returns the literal parts before the first generation or differing input. Inputs that are equal for all are kept."""
    tracer = Tracer()
    names = dict.fromkeys(name for each in inputs for name in each)
    shared = {name: _shared([each.get(name) for each in inputs]) for name in names}
    outer = running_on.set(TRACED)
    try:
        with contextlib.suppress(StopTracing, Exception):  # if the body fails on a stand-in, the prefix ends there
            state = ProgramState(tracer)  # type: ignore[arg-type]
            func(state, **shared)
            state._settle()
    finally:
        running_on.reset(outer)
    return Prompt(tracer.parts)


def warm_common_prefix(func: Callable[..., Any], inputs: Sequence[Mapping[str, Any]], backend: Backend) -> None:
    """Computes the common prefix once, so that every program of the batch finds it."""
    if len(inputs) > 1 and (prefix := common_prefix(func, inputs)).parts:
        warm(backend, prefix)


def _shared(values: list[Any]) -> Any:
    try:
        return values[0] if all(value is values[0] or bool(value == values[0]) for value in values) else StandIn()
    except Exception:  # values that cannot be compared
        return StandIn()
