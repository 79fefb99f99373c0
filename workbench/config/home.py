"""The default model, and the folders that the environment names."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.errors import InvalidRequest

DEFAULT_MODEL = "smollm2-135m"


def home() -> Path:
    """Returns the folder for models and compiled kernels: WORKBENCH_HOME, else ~/.cache/workbench."""
    return Path(os.environ.get("WORKBENCH_HOME") or "~/.cache/workbench").expanduser().absolute()


def profile_folder() -> str:
    """Returns the folder for traces of the torch profiler. Raises InvalidRequest if the environment names none."""
    names = ("WORKBENCH_TORCH_PROFILER_DIR", "SGLANG_TORCH_PROFILER_DIR")
    folder = next(filter(None, map(os.environ.get, names)), None)
    if folder is None:
        raise InvalidRequest(names[0], None, "a folder for the trace", hint="set it before the start, then profile again")
    return folder
