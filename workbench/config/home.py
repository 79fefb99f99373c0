"""The default model, and the folder where models and compiled kernels are kept."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_MODEL = "smollm2-135m"


def home() -> Path:
    """Returns the folder for models and compiled kernels: WORKBENCH_HOME, else ~/.cache/workbench."""
    return Path(os.environ.get("WORKBENCH_HOME") or "~/.cache/workbench").expanduser().absolute()
