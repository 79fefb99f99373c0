"""ModelScope as the source of models in the place of the Hugging Face hub, where WORKBENCH_USE_MODELSCOPE is true.

Its own library fetches and keeps the files (~/.cache/modelscope). Ids are those of its hub: `org/name`.
"""

from __future__ import annotations

import os
from pathlib import Path

from workbench.errors import ModelNotFound, NotSupported, in_one_line

NAMES = ("WORKBENCH_USE_MODELSCOPE", "SGLANG_USE_MODELSCOPE")


def is_used() -> bool:
    """Returns whether the environment names ModelScope as the source."""
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in NAMES)


def fetch(repo: str, revision: str | None, cache_dir: Path | None, patterns: list[str]) -> Path:
    """Returns the folder with the files that match. Raises NotSupported without the library, ModelNotFound."""
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        message = f"{NAMES[0]} is set, and {error.name} is not installed"
        raise NotSupported(message, hint="pip install modelscope, or unset it to use the Hugging Face hub") from error
    try:
        return Path(snapshot_download(repo, revision=revision, cache_dir=cache_dir, allow_patterns=patterns))
    except Exception as error:
        at = f" at {revision}" if revision else ""
        hint = "check the id on modelscope.cn, and the network"
        raise ModelNotFound(f"ModelScope gives no {repo}{at}: {in_one_line(error)}", hint=hint) from error
