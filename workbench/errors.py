"""Errors that a user can cause: what happened, how much, and what to do next.

In IPython each shows two lines instead of a traceback (`_render_traceback_` is IPython's own hook, so nothing
of IPython is imported here).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class WorkbenchError(Exception):
    """Base of every error the package raises on purpose.

    `message` says what happened with the numbers in it; `hint` says what to do next and may be empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        lines = [f"{type(self).__name__}: {self.message}"]
        return [*lines, f"  {self.hint}"] if self.hint else lines


class InvalidRequest(WorkbenchError, ValueError):
    """One field of a request or of the configuration has a value it cannot have."""

    def __init__(self, field: str, value: Any, limit: str, *, hint: str = "") -> None:
        super().__init__(f"{field} is {shown(value)}, it must be {limit}", hint=hint)
        self.field = field
        self.value = value
        self.limit = limit

    @classmethod
    def because(cls, field: str, message: str, *, hint: str) -> InvalidRequest:
        """In words of its own, where "it must be" does not read well: two fields that exclude each other, one that is missing."""
        error = cls.__new__(cls)
        WorkbenchError.__init__(error, message, hint=hint)
        error.field, error.value, error.limit = field, None, hint
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__, self.args)


class UnknownParameter(InvalidRequest):
    """A name that does not exist; the error suggests the nearest that does."""

    def __init__(self, name: str, known: Iterable[str], *, where: str) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
        WorkbenchError.__init__(self, f"{where} has no parameter {name!r}", hint=hint)
        self.field, self.value, self.limit = name, None, f"one of {names}"


class ProgramMistake(InvalidRequest):
    """A program puts words together that mean nothing so."""

    def __init__(self, message: str, *, hint: str) -> None:
        WorkbenchError.__init__(self, message, hint=hint)
        self.field, self.value, self.limit = "program", None, hint


class PromptTooLong(InvalidRequest):
    """The prompt, or the prompt and what it may generate, exceeds the context or the KV pool."""


class NotSupported(WorkbenchError):
    """A feature the reference names, or a construct a backend lacks, that is not available here."""


class BackendLacks(NotSupported):
    """A program asks its backend for something that this backend cannot do."""

    def __init__(self, backend: str, feature: str, *, hint: str = "") -> None:
        where = "OpenAI(model) for one" if feature in ("image", "video") else "a loaded engine or RuntimeEndpoint(url)"
        hint = hint or f"leave it out, or run on a backend that has {feature}: {where}"
        super().__init__(f"{backend} cannot do: {feature}", hint=hint)
        self.backend = backend
        self.feature = feature

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__, self.args)


class BackendFailed(WorkbenchError):
    """The other side could not be reached, or it refused a call or broke it off."""


class Aborted(WorkbenchError):
    """A request or a program was ended before it was done."""


class UnknownVariable(WorkbenchError, KeyError):
    """A program's variable is read that no generation makes."""


class QueueFull(WorkbenchError):
    """The waiting queue has reached `max_queued_requests`."""


class ModelNotFound(WorkbenchError):
    """No model behind this name: the message names the alias and the places that were searched."""


class ModelUnsupported(WorkbenchError):
    """The file is readable, its architecture or format is not one of ours."""


class ModelCorrupt(WorkbenchError):
    """A model file is truncated, or its checksum is wrong."""


class DiskFull(WorkbenchError):
    """Not enough room under `WORKBENCH_HOME`; the message has both numbers."""


SHUT_DOWN = "the engine was shut down"
"""The message of `EngineDead` where the engine's owner ended it."""


class EngineDead(WorkbenchError):
    """The engine's thread or process has ended; open requests end with this error."""

    def __init__(self, message: str, *, hint: str = "load it again") -> None:
        super().__init__(message, hint=hint)


class CacheCorrupt(WorkbenchError):
    """An invariant of the page account is broken: a bug of ours, never the user's fault."""


def shown(value: Any) -> str:
    """At most 80 characters of its `repr`, whatever it is."""
    try:
        text = repr(value)
    except Exception:  # Python writes no integer of more than 4,300 digits, and somebody's own class may do anything
        text = f"<an integer of {value.bit_length()} bits>" if isinstance(value, int) else f"<a {type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


def install(extra: str) -> str:
    """The command that adds an extra to this installation; to the clone it runs from, where that is one."""
    root = Path(__file__).parents[1]
    return (
        f"pip install -e '{root}[{extra}]'" if (root / "pyproject.toml").is_file() else f"pip install 'radix-workbench[{extra}]'"
    )


def no_server() -> NotSupported:
    """What every way to start a server says until there is one."""
    return NotSupported("there is no server yet", hint="until then: %wb load in a notebook, workbench.Engine() in Python")


def in_one_line(error: BaseException) -> str:
    """Class and first line of any error: some libraries' messages run over pages."""
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first[:300]}"


def _rebuild(cls: type[WorkbenchError], state: dict[str, Any], args: tuple[Any, ...]) -> WorkbenchError:
    """Copy and unpickle an error whose constructor takes other arguments than its message."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error
