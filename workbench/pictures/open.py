"""Opens the sight of a model by its place."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.errors import ModelCorrupt
from workbench.pictures.sight import Sight, Words


def open_sight(place: str, folder: Path, config: Mapping[str, Any], words: Words) -> Sight:
    """Returns the sight "file.Class" below `workbench.pictures.sights` of a model's folder. Raises ModelCorrupt, NotSupported."""
    file, _, name = place.rpartition(".")
    made: Sight = getattr(importlib.import_module(f"workbench.pictures.sights.{file}"), name)(folder, config, words)
    if not made.placeholder:
        hint = "give the tokenizer of this model with tokenizer_path=, or fetch the folder again"
        raise ModelCorrupt("the tokenizer lacks the token of pictures that config.json names", hint=hint)
    return made
