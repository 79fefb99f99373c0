"""The model and the tokenizer that `ServerArgs` name, found on disk or fetched."""

from __future__ import annotations

from workbench.config import ServerArgs
from workbench.hub.find import Check, LocalModel, resolve
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


def find_tokenizer(args: ServerArgs) -> Tokenizer | None:
    """Returns the model's tokenizer, or the one that `tokenizer_path` names; None with `skip_tokenizer_init`. No weights."""
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
