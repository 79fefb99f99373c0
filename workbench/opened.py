"""A running engine as the public API sees it, wherever it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.client import Client
from workbench.config import ServerArgs
from workbench.hub.find import LocalModel, resolve
from workbench.hub.progress import Progress
from workbench.kernels.openmp import share_cores
from workbench.model.check import check_model
from workbench.text.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Opened:
    """How to reach it, how to write for it, and what was settled."""

    client: Client
    tokenizer: Tokenizer | None
    info: dict[str, Any]


def find_model(args: ServerArgs, progress: Progress | None = None) -> LocalModel:
    """Returns where the model is, after fetching it where it is not here yet. Raises for one that cannot be had or does not run."""
    return resolve(
        args.model_path,
        revision=args.revision,
        download_dir=args.download_dir,
        load_format=args.load_format,
        check=lambda path: _check(path, model_override(args)),
        progress=progress,
    )


def _check(path: Path, override: dict[str, Any]) -> None:
    share_cores()  # before torch, which comes in with the family's file
    check_model(path, override)


def model_override(args: ServerArgs) -> dict[str, Any]:
    """Returns the keys that replace those of config.json."""
    found: dict[str, Any] = json.loads(args.json_model_override_args)
    return found


def find_tokenizer(args: ServerArgs) -> Tokenizer | None:
    """Returns the model's tokenizer, or the one that `tokenizer_path` names; None with `skip_tokenizer_init`. Needs no weights."""
    if args.skip_tokenizer_init:
        return None
    small = "gguf" if args.load_format == "gguf" else "dummy"
    model = resolve(args.model_path, revision=args.revision, download_dir=args.download_dir, load_format=small).path
    where = model
    if args.tokenizer_path is not None:
        where = resolve(args.tokenizer_path, download_dir=args.download_dir, load_format="dummy").path
    return load_tokenizer(
        where,
        chat_template=args.chat_template,
        trust_remote_code=args.trust_remote_code,
        mode=args.tokenizer_mode,
        model_folder=model,
    )
