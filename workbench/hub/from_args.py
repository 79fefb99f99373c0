"""The model and the tokenizer that `ServerArgs` name, found on disk or fetched."""

from __future__ import annotations

import json
from typing import Any

from workbench.config import ServerArgs
from workbench.hub.find import resolve
from workbench.model.folder import ModelFolder, Progress
from workbench.text.tokenizer import Tokenizer, load_tokenizer


def find_model(args: ServerArgs, progress: Progress | None = None) -> ModelFolder:
    """Returns the model's folder, fetched if it is not here yet. Raises for one that cannot be had or does not run."""
    return resolve(
        args.model_path,
        revision=args.revision,
        download_dir=args.download_dir,
        load_format=args.load_format,
        override=model_override(args),
        progress=progress,
    )


def model_override(args: ServerArgs) -> dict[str, Any]:
    """Returns the keys that replace those of config.json."""
    found: dict[str, Any] = json.loads(args.json_model_override_args)
    return found


def find_tokenizer(args: ServerArgs) -> Tokenizer | None:
    """Returns the model's tokenizer, or the one that `tokenizer_path` names; None with `skip_tokenizer_init`. No weights."""
    if args.skip_tokenizer_init:
        return None
    small = "gguf" if args.load_format == "gguf" else "dummy"
    folder = resolve(args.model_path, revision=args.revision, download_dir=args.download_dir, load_format=small).path
    where = folder
    if args.tokenizer_path is not None:
        where = resolve(args.tokenizer_path, download_dir=args.download_dir, load_format="dummy").path
    return load_tokenizer(
        where,
        chat_template=args.chat_template,
        trust_remote_code=args.trust_remote_code,
        mode=args.tokenizer_mode,
        model_folder=folder,
    )
