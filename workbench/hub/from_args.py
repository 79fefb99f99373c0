"""The model and the tokenizer that `ServerArgs` name, found on disk or fetched."""

from __future__ import annotations

from pathlib import Path

from workbench.config import ServerArgs
from workbench.hub.catalog import CATALOG
from workbench.hub.find import Check, LocalModel, models_dir, present_weights, resolve
from workbench.hub.progress import Progress
from workbench.text.tokenizer import Tokenizer, load_tokenizer


def find_model(args: ServerArgs, check: Check, progress: Progress | None = None) -> LocalModel:
    """Returns where the model is, fetched if it is not here yet. Raises for one that cannot be had, and what `check` raises."""
    return resolve(
        args.model_path,
        revision=args.revision,
        download_dir=args.download_dir,
        load_format=args.load_format,
        check=check,
        progress=progress,
    )


def is_gguf_here(args: ServerArgs) -> bool:
    """Returns whether the model, and its tokenizer too, is a GGUF file of this machine, so that nothing is fetched for it."""
    if args.skip_tokenizer_init or args.tokenizer_path is not None:
        return False
    entry, path = CATALOG.get(args.model_path), Path(args.model_path).expanduser()
    if entry is not None:
        path = present_weights(entry, models_dir(args.download_dir), check=False) or path
    return path.suffix == ".gguf" and path.is_file()


def find_tokenizer(args: ServerArgs) -> Tokenizer | None:
    """Returns the model's tokenizer, or the one that `tokenizer_path` names; None with `skip_tokenizer_init`. No weights."""
    if args.skip_tokenizer_init:
        return None
    small = "gguf" if args.load_format == "gguf" else "dummy"
    model = resolve(args.model_path, revision=args.revision, download_dir=args.download_dir, load_format=small).path
    where = model
    if args.tokenizer_path is not None:
        where = resolve(args.tokenizer_path, download_dir=args.download_dir, load_format="dummy").path
    tokenizer = load_tokenizer(
        where,
        chat_template=args.chat_template,
        trust_remote_code=args.trust_remote_code,
        mode=args.tokenizer_mode,
        model_folder=model,
    )
    _ = tokenizer.highest_id  # here, beside the loading of torch's library: later the weights would wait for it
    return tokenizer
