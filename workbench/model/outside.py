"""Models from outside this package: classes that a program registers under the name of their architecture."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from workbench.errors import InvalidRequest, ModelUnsupported, NotSupported, in_one_line
from workbench.model.registry import FAMILIES, Entry

MAIN = "workbench_outside_main"
"""Name under which another process imports the script that registered a model."""


class Place(msgspec.Struct, frozen=True):
    """The place of a registered class or family, from which another process imports it."""

    architecture: str
    module: str
    name: str
    file: str


class OutsideModels(MutableMapping[str, Any]):
    """All models by the name of their architecture. Setting one registers a class, or the `Family` that declares more of it."""

    def __getitem__(self, architecture: str) -> Any:
        entry = FAMILIES[architecture]
        return entry.given or entry.family.model

    def __setitem__(self, architecture: str, model: Any) -> None:
        FAMILIES[architecture] = _entry(architecture, model)

    def __delitem__(self, architecture: str) -> None:
        del FAMILIES[architecture]

    def __iter__(self) -> Iterator[str]:
        return iter(FAMILIES)

    def __len__(self) -> int:
        return len(FAMILIES)


def places() -> list[Place]:
    """Returns the places of all registered models. Raises NotSupported for one that no other process can import."""
    return [_place(entry) for entry in FAMILIES.values() if entry.given is not None]


def register(registered: Sequence[Place]) -> None:
    """Registers models of another process here. Raises ModelUnsupported for one that cannot be imported."""
    for place in registered:
        try:
            OutsideModels()[place.architecture] = getattr(_module(place), place.name)
        except Exception as error:
            message = f"{place.architecture} cannot be imported from {place.file}: {in_one_line(error)}"
            raise ModelUnsupported(message, hint="define it at the top level of a file that does no work on import") from error


def _entry(architecture: str, model: Any) -> Entry:
    from workbench.model.family import Family

    if isinstance(model, type):
        family, module, name = _family_of(model), model.__module__, model.__qualname__
    elif isinstance(model, Family):
        family, (module, name) = model, _where(model)
    else:
        raise InvalidRequest("ModelRegistry", model, "a class of a model, or its Family: see docs/add-a-model.md")
    return Entry(architecture, architecture, "", "", "registered by a program", module, name, given=model, resolved=family)


def _family_of(model: Any) -> Any:
    """Returns the declaration of a class: that of the class here which it extends, or else a new one."""
    from workbench.model.family import Family

    config = get_type_hints(model.__init__).get("config")
    if config is None:
        raise InvalidRequest("ModelRegistry", model, "a class whose constructor takes `config: ItsConfig`")
    bases = {base.__module__ for base in model.__mro__}
    for entry in list(FAMILIES.values()):
        if (
            entry.module in bases
            and not entry.form
            and isinstance(entry.family.model, type)
            and issubclass(model, entry.family.model)
        ):
            return replace(entry.family, config=config, model=model, gguf=None)
    return Family(config=config, model=model)


def _where(family: Any) -> tuple[str, str]:
    """Returns the module of a family's class, and the family's name in it; an empty one if it has none."""
    module = getattr(family.config, "__module__", "")
    return module, next((name for name, value in vars(sys.modules[module]).items() if value is family), "")


def _place(entry: Entry) -> Place:
    file = getattr(sys.modules.get(entry.module), "__file__", None)
    if file is None or not entry.declared.isidentifier():
        message = f"the engine's process cannot import {entry.architecture}: it is at no top level of a file ({entry.module})"
        raise NotSupported(message, hint="put it into a module of its own, or open the engine in this process")
    return Place(entry.architecture, entry.module, entry.declared, file)


def _module(place: Place) -> Any:
    if place.module == "__main__":
        if MAIN not in sys.modules:
            spec = importlib.util.spec_from_file_location(MAIN, place.file)
            assert spec is not None, place
            assert spec.loader is not None, place
            sys.modules[MAIN] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[MAIN])
        return sys.modules[MAIN]
    path = Path(place.file)
    root = path.parents[place.module.count(".") + (path.stem == "__init__")]
    if str(root) not in sys.path:
        sys.path.append(str(root))
    return importlib.import_module(place.module)
