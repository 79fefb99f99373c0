"""`ServerArgs`: all groups in one value, with one definition for command line, `Engine` keywords, `%wb load` and the docs."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack

from workbench.config import later
from workbench.config.groups import CacheArgs, ComputeArgs, GrammarArgs, Group, LoggingArgs, ModelArgs, RequestArgs, ScheduleArgs
from workbench.config.http import HttpArgs
from workbench.config.limits import limits_of
from workbench.config.options import ServerOptions
from workbench.config.values import checked, kinds_of
from workbench.errors import InvalidRequest, UnknownParameter
from workbench.field_docs import documented, field_docs

G = TypeVar("G", bound=Group)
ALIASES = {"model_path": ("--model",)}
"""Further spellings of flags on the command line."""


@documented
@dataclass(frozen=True, kw_only=True)
class ServerArgs(HttpArgs, LoggingArgs, RequestArgs, GrammarArgs, ScheduleArgs, CacheArgs, ComputeArgs, ModelArgs):
    """All settings of an engine. Each is an attribute; `part(CacheArgs)` is one group alone."""

    @classmethod
    def make(cls, model_path: str | os.PathLike[str] | None = None, **values: Unpack[ServerOptions]) -> ServerArgs:
        """Returns settings from keywords. None means the default.

        Raises UnknownParameter for an unknown name, InvalidRequest for a value of the wrong type or outside its limits, and
        NotSupported for a setting of the reference that is not built yet (`workbench.config.later`).
        """
        kinds = kinds_of(cls)
        clean: dict[str, Any] = {}
        for name, value in _radix_cache_once({"model_path": model_path, **values}).items():
            if later.is_accounted_for(name, value):
                continue
            if name not in kinds:
                raise UnknownParameter(name, kinds, where="the engine")
            if value is not None:
                clean[name] = checked(name, value, kinds[name])
        return cls(**clean)

    def part(self, group: type[G]) -> G:
        """Returns one group of these settings."""
        return group(**{field.name: getattr(self, field.name) for field in dataclasses.fields(group)})

    @classmethod
    def add_cli_args(cls, parser: argparse.ArgumentParser) -> None:
        """Adds a flag for each field, with dashes; argparse's prefix matching gives the reference's short forms."""
        for group in GROUPS:
            add_flags(parser, group)
        later.add_cli_args(parser)

    @classmethod
    def from_cli_args(cls, namespace: argparse.Namespace) -> ServerArgs:
        """Returns the settings of a command line parsed with `add_cli_args`; raises what `make` raises."""
        names = kinds_of(cls).keys() | later.LATER.keys() | later.NO_EFFECT
        given: Any = {name: value for name, value in vars(namespace).items() if name in names}
        return cls.make(**given)


GROUPS: tuple[type[Group], ...] = ServerArgs.__bases__[::-1]
"""All groups, in the order of their fields in `ServerArgs`."""


def add_flags(parser: argparse.ArgumentParser, group: type[Group]) -> None:
    """Adds the flags of one group. The help of a flag is its field's docstring, limits and default."""
    kinds, docs, limits = kinds_of(group), field_docs(group), limits_of(group)
    for field in dataclasses.fields(group):
        name, kind = field.name, kinds[field.name]
        more = [*(limit.words for limit in limits.get(name, ())), f"default: {field.default}"]
        help = f"{docs[name]} ({'; '.join(more)})".replace("%", "%%")
        flags = [later.flag(name), *ALIASES.get(name, ())]
        if kind.base is bool:
            parser.add_argument(*flags, dest=name, action="store_true", default=argparse.SUPPRESS, help=help)
        else:
            parser.add_argument(*flags, dest=name, type=kind.base, choices=kind.choices, default=argparse.SUPPRESS, help=help)


def _radix_cache_once(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values with `disable_radix_cache`, the field, in the place of its opposite `enable_radix_cache`."""
    rest = dict(values)
    on, off = rest.pop("enable_radix_cache", None), rest.get("disable_radix_cache")
    if on is None:
        return rest
    if not isinstance(on, bool):
        raise InvalidRequest("enable_radix_cache", on, "True or False")
    if off is on:
        raise InvalidRequest("enable_radix_cache", on, f"the opposite of disable_radix_cache={off}", hint="keep one of them")
    return rest | {"disable_radix_cache": not on}
