"""The messages between an engine's process and its parent: msgpack, never pickle.

Calls and their answers are made from `ProcessCalls`. Each method is one message: the types of its arguments and of its result
say how both are read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, get_type_hints

import msgspec

from workbench.client.answers import EngineInfo
from workbench.client.protocol import EngineCalls, calls_of
from workbench.errors import InvalidRequest, NotSupported
from workbench.events import AnyEvent
from workbench.model.outside import Place
from workbench.types import Request, TokenOut
from workbench.wire_error import CANNOT_CARRY, Failure, encode

ONE_VERSION = "both sides must run the same version"


class ProcessCalls(EngineCalls, Protocol):
    """The calls on a process that runs an engine: those on the engine, and those that bring it requests."""

    def open(self, server_args: dict[str, Any], models: list[Place]) -> EngineInfo:
        """Loads the engine, with models from outside known; sends `Loading` meanwhile. The first call."""

    def submit(self, requests: list[Request]) -> None:
        """Queues requests, or raises for the first that can never be served. Their outputs come as `Outputs`. Pictures are
        `packed` (`process.pictures`)."""

    def abort(self, rid: str, message: str) -> None:
        """Ends a request, or all samples of a group."""

    def ping(self) -> None:
        """Does nothing: the answer shows that the process is not stopped. It comes at once, in the middle of a step too."""


# -- parent to child --------------------------------------------------------------------------------------------


class Call(msgspec.Struct, frozen=True):
    """A method to call. An `Answer` or a `Refusal` with the same number follows."""

    number: int
    name: str
    arguments: msgspec.Raw
    """A map from parameter to value."""


# -- child to parent --------------------------------------------------------------------------------------------


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The result of a call. All events that were logged before it have been sent before it."""

    number: int
    result: msgspec.Raw


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """The error of a call."""

    number: int
    failure: Failure


class Outputs(msgspec.Struct, frozen=True, tag=True):
    """The outputs of a step, and the events up to now."""

    outputs: list[TokenOut]
    events: list[AnyEvent]
    failures: list[tuple[str, Failure]] = []
    """Requests that end with an error, by id."""
    num_lost: int = 0
    """Events before these that left the bounded log before they could be sent."""


class Loading(msgspec.Struct, frozen=True, tag=True):
    """Progress of `open`: the kind of work, how much of it is done, and how much there is (0: unknown)."""

    what: str
    done: int
    total: int


FromChild = Answer | Refusal | Outputs | Loading


# -- made from the protocol -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Message:
    """One method as a message."""

    name: str
    arguments: type[msgspec.Struct]
    """A struct whose fields are the method's parameters."""
    result: Any
    """The type of its result."""

    def call(self, number: int, *args: Any, **kwargs: Any) -> Call:
        """Returns the call with these arguments. Raises `InvalidRequest` for a value that msgpack cannot carry."""
        arguments = self.arguments(*args, **kwargs)
        try:
            return Call(number, self.name, msgspec.Raw(encode(arguments)))
        except CANNOT_CARRY as error:
            raise InvalidRequest(*not_carried(arguments), f"made of values that msgpack can carry ({error})") from None

    def read_arguments(self, call: Call) -> dict[str, Any]:
        """Returns the arguments of a call by name. Raises `NotSupported` for those of another version."""
        try:
            read = msgspec.msgpack.decode(call.arguments, type=self.arguments)
        except msgspec.ValidationError as error:
            message = f"the call {self.name!r} came with arguments that it does not take: {error}"
            raise NotSupported(message, hint=ONE_VERSION) from None
        return {name: getattr(read, name) for name in self.arguments.__struct_fields__}

    def read_result(self, answer: Answer) -> Any:
        return msgspec.msgpack.decode(answer.result, type=self.result)


def messages_of(protocol: type) -> dict[str, Message]:
    """Returns one message for each public method of a protocol."""
    return {name: _message(name, method) for name, method in calls_of(protocol).items()}


def _message(name: str, method: Callable[..., Any]) -> Message:
    hints = get_type_hints(method)
    parameters = [p for p in inspect.signature(method).parameters.values() if p.name != "self"]
    fields: list[Any] = [
        (p.name, hints[p.name]) if p.default is p.empty else (p.name, hints[p.name], p.default) for p in parameters
    ]
    return Message(name, msgspec.defstruct(name, fields, forbid_unknown_fields=True), hints["return"])


MESSAGES: Mapping[str, Message] = messages_of(ProcessCalls)


def message_of(call: Call) -> Message:
    """Returns the message that a call is one of. Raises `NotSupported` for a call of another version."""
    if call.name not in MESSAGES:
        raise NotSupported(f"this engine has no call {call.name!r}", hint=f"it has {', '.join(MESSAGES)}; {ONE_VERSION}")
    return MESSAGES[call.name]


def not_carried(value: msgspec.Struct) -> tuple[str, Any]:
    """Returns the name and the value of the innermost field that msgpack cannot carry."""
    for name in value.__struct_fields__:
        part = getattr(value, name)
        try:
            encode(part)
        except CANNOT_CARRY:
            inner = [item for item in (part if isinstance(part, (list, tuple)) else [part]) if isinstance(item, msgspec.Struct)]
            return next((found for item in inner if (found := not_carried(item))[0]), (name, part))
    return "", None
