"""The picture processor of a model's folder: transformers' own, in its form that needs pillow and numpy alone."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ModelCorrupt, ModelUnsupported, NotSupported, in_one_line, install

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

FILES = ("preprocessor_config.json", "processor_config.json")


def pillow() -> Any:
    """Imports pillow's `Image`. Raises NotSupported where it is not installed."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError:
        raise NotSupported("pictures need the package pillow", hint=install("vision")) from None


class Processor:
    """Resizes, cuts and normalises pictures by `preprocessor_config.json`. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Raises ModelCorrupt for a folder without the files of a processor."""
        self.folder = folder
        if not any((folder / name).is_file() for name in FILES):
            raise ModelCorrupt(
                f"{folder} has no {FILES[0]}", hint="fetch the model's folder whole: it describes how pictures are read"
            )

    def value(self, *names: str) -> Any:
        """Returns the first of these keys that one of the files has; None where none has."""
        return next((self._values[name] for name in names if self._values.get(name) is not None), None)

    def __call__(self, pictures: Sequence[Image], **options: Any) -> dict[str, np.ndarray[Any, Any]]:
        """Returns the arrays that transformers' processor makes of these pictures together, by name."""
        made = self.made([*pictures], return_tensors="np", **options)
        return {name: value for name, value in made.items() if hasattr(value, "shape")}

    @cached_property
    def made(self) -> Any:
        """The processor of transformers. Raises ModelUnsupported for one that transformers lacks."""
        pillow()
        auto = importlib.import_module("transformers").AutoImageProcessor
        try:
            return auto.from_pretrained(str(self.folder), backend="pil", local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            message = f"the picture processor in {self.folder} cannot be made: {in_one_line(error)}"
            raise ModelUnsupported(message, hint="only processors that transformers has are used") from error

    @cached_property
    def _values(self) -> dict[str, Any]:
        return read_values(self.folder)


def read_json(path: Path) -> dict[str, Any]:
    """Returns the values of a file, none where there is no such file. Raises ModelCorrupt for one that is no JSON."""
    if not path.is_file():
        return {}
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelCorrupt(f"{path} is no JSON: {in_one_line(error)}") from None
    return values


def read_values(folder: Path, *names: str) -> dict[str, Any]:
    """Returns the settings in these files of a folder, by default those of a processor; none where there are no such files.
    Raises ModelCorrupt."""
    found: dict[str, Any] = {}
    for name in (names or FILES)[::-1]:
        values = read_json(folder / name)
        found |= values.get("image_processor", {}) | values
    return found


def check_square(folder: Path, side: int) -> None:
    """Raises ModelCorrupt where a folder's files cut pictures to squares of other pixels than the `side` that its tower takes."""
    values = read_values(folder)
    size = values.get("size")
    if values.get("do_center_crop") is not False and values.get("crop_size") is not None:
        size = values["crop_size"]
    if isinstance(size, Mapping):
        size = size.get("height") if size.get("height") == size.get("width") else None
    if isinstance(size, int) and size != side:
        message = f"{folder} has a processor that makes squares of {size} pixels, and in config.json a tower that takes {side}"
        raise ModelCorrupt(message, hint=f"fetch {FILES[0]} of this model again")


class StatedProcessor(Processor):
    """A processor of transformers with the settings that a family's code has, for folders without the files of one."""

    def __init__(self, folders: Sequence[Path], package: str, name: str, settings: Mapping[str, Any]) -> None:
        """Makes the class `name` in `package`. Means and deviations are those of the first folder that has files with them."""
        self._package, self._name = package, name
        found = next((values for folder in folders if (values := read_values(folder))), {})
        self._settings = {**settings, **{key: found[key] for key in ("image_mean", "image_std") if found.get(key)}}

    @cached_property
    def made(self) -> Any:
        pillow()
        module = importlib.import_module(f"transformers.models.{self._package}.image_processing_pil_{self._package}")
        return getattr(module, self._name)(**self._settings)

    @cached_property
    def _values(self) -> dict[str, Any]:
        return dict(self._settings)


class OwnProcessor(Processor):
    """The settings of a folder's processor, for families whose pictures are processed here."""

    @cached_property
    def made(self) -> Any:
        """The module of pillow. Raises NotSupported where it is not installed."""
        return pillow()
