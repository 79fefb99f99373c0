"""Errors that a user can cause. Each has the numbers in its message and the next step in its hint.

IPython calls `_render_traceback_` and shows two lines instead of a traceback; this module does not import IPython.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class WorkbenchError(Exception):
    """The base of every error that the package raises on purpose.

    `message` describes what happened, with the numbers; `hint` is the next step and may be empty.
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
    """A field of a request or of the configuration has a value outside its limit."""

    def __init__(self, field: str, value: Any, limit: str, *, hint: str = "") -> None:
        super().__init__(f"{field} is {shown(value)}, it must be {limit}", hint=hint)
        self.field = field
        self.value = value
        self.limit = limit

    @classmethod
    def because(cls, field: str, message: str, *, hint: str) -> InvalidRequest:
        """Returns an error with a message of its own, for cases without a limit: a missing field, two fields that exclude
        each other."""
        error = cls.__new__(cls)
        WorkbenchError.__init__(error, message, hint=hint)
        error.field, error.value, error.limit = field, None, hint
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__, self.args)


class UnknownParameter(InvalidRequest):
    """A parameter does not exist; the hint has the most similar name that does."""

    def __init__(self, name: str, known: Iterable[str], *, where: str) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
        WorkbenchError.__init__(self, f"{where} has no parameter {name!r}", hint=hint)
        self.field, self.value, self.limit = name, None, f"one of {names}"


class ProgramMistake(InvalidRequest):
    """A program combines verbs or arguments in a way that has no meaning."""

    def __init__(self, message: str, *, hint: str) -> None:
        WorkbenchError.__init__(self, message, hint=hint)
        self.field, self.value, self.limit = "program", None, hint


class PromptTooLong(InvalidRequest):
    """The prompt, or the prompt and its `max_new_tokens`, exceeds the context or the KV pool."""


class NotSupported(WorkbenchError):
    """A feature of the reference, or a construct of the language, is not available here."""


class BackendLacks(NotSupported):
    """A program needs a feature that its backend lacks."""

    def __init__(self, backend: str, feature: str, *, hint: str = "") -> None:
        where = "OpenAI(model) for one" if feature in ("image", "video") else "a loaded engine or RuntimeEndpoint(url)"
        hint = hint or f"leave it out, or run on a backend that has {feature}: {where}"
        super().__init__(f"{backend} cannot do: {feature}", hint=hint)
        self.backend = backend
        self.feature = feature

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__, self.args)


class BackendFailed(WorkbenchError):
    """A remote backend could not be reached, refused a call, or ended its answer too early."""

    status: int | None = None
    """HTTP status of a refusal; None if no answer came, or only a part of one."""


class Aborted(WorkbenchError):
    """A request or a program was ended before it was complete."""


class UnknownVariable(WorkbenchError, KeyError):
    """A program reads a variable that no generation sets."""


class QueueFull(WorkbenchError):
    """The waiting queue has reached `max_queued_requests`."""


class ModelNotFound(WorkbenchError):
    """No model has this name; the message has the alias and the places that were searched."""


class ModelUnsupported(WorkbenchError):
    """A model file is readable, but its architecture or format does not run here."""

    def __init__(self, message: str, *, hint: str = "`workbench models` lists the models that run") -> None:
        super().__init__(message, hint=hint)


class ModelCorrupt(WorkbenchError):
    """A model file is truncated, or its checksum is wrong."""

    def __init__(self, message: str, *, hint: str = "fetch the model again: its files do not fit together") -> None:
        super().__init__(message, hint=hint)


class DiskFull(WorkbenchError):
    """A disk has too little free space; the message has the needed and the free megabytes."""


SHUT_DOWN = "the engine was shut down"
"""The message of `EngineDead` after the engine's owner has shut it down."""


class EngineDead(WorkbenchError):
    """The engine's thread or process has ended; open requests end with this error."""

    def __init__(self, message: str, *, hint: str = "load it again") -> None:
        super().__init__(message, hint=hint)


class CacheCorrupt(WorkbenchError):
    """The page counts contradict each other: a bug of the package."""


def shown(value: Any) -> str:
    """Returns at most 80 characters of `repr(value)`; never raises."""
    try:
        text = repr(value)
    except Exception:  # Python writes no integer of more than 4,300 digits, and a user's class may raise anything
        text = f"<an integer of {value.bit_length()} bits>" if isinstance(value, int) else f"<a {type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


def install(extra: str) -> str:
    """Returns the command that installs an extra, into the clone if the package runs from one."""
    root = Path(__file__).parents[1]
    return (
        f"pip install -e '{root}[{extra}]'" if (root / "pyproject.toml").is_file() else f"pip install 'radix-workbench[{extra}]'"
    )


def in_one_line(error: BaseException) -> str:
    """Returns the class of an error and at most 300 characters of its first line; some libraries write pages."""
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first[:300]}"


def _rebuild(cls: type[WorkbenchError], state: dict[str, Any], args: tuple[Any, ...]) -> WorkbenchError:
    """Returns a copied or unpickled error without calling its constructor, which takes other arguments than `args`."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error
