"""`takes`: real names in the signature of a function whose keywords are a TypedDict."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any, ForwardRef, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def takes(options: type[Mapping[str, object]], defaults: Mapping[str, object] | None = None) -> Callable[[F], F]:
    """Returns a decorator for a function with `**options: Unpack[options]`.

    `inspect.signature`, `help`, Shift-Tab and completion then show each keyword with its type and its default (None if
    `defaults` has none), where type checkers see them already.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        parameters = [p for p in signature.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        for name, kind in options.__annotations__.items():
            default = (defaults or {}).get(name)
            text = kind.__forward_arg__ if isinstance(kind, ForwardRef) else str(kind)
            annotation = text if default is None else text.removesuffix(" | None")
            parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return decorate
