"""The Hugging Face hub, through its own library: HF_HOME, HF_HUB_OFFLINE, HF_TOKEN and HF_ENDPOINT mean what they mean there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.checkpoint.files import PICKLE_SUFFIXES, pickle_error, refuse_adapter
from workbench.checkpoint.gguf_file import SPLIT, begins_model
from workbench.errors import ModelNotFound, NotSupported, install
from workbench.hub import modelscope
from workbench.hub.disk import full_disk_is_an_error_of_ours

TEXT_FILES = ["*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken"]
PARTS = ("vision-lora", "vit")
"""Folders in which a model has a part with weights: the adapters of Phi-4-multimodal, the tower of Yi-VL."""
NESTED = [
    "*_Pooling/config.json", "additional_chat_templates/*.jinja",
    *(f"{part}/*.{kind}" for part in PARTS for kind in ("json", "safetensors")),
]  # fmt: skip
"""Files below the top level that count: a pooling, templates by name, and parts of the model."""


def fetch_folder(
    repo: str, revision: str | None, cache_dir: Path | None, check: Callable[[Path], None], *, weights: bool = True,
    pickled: bool = False,
) -> Path:  # fmt: skip
    """Returns a snapshot folder with the safetensors, JSON and tokenizer files of the top level; nothing that could run code.

    With `pickled`, `pytorch_model*.bin` in the place of safetensors.

    Small files come first, and `check` is called with their folder: what it raises for, costs no download of weights.
    """
    path = _snapshot(repo, revision, cache_dir, TEXT_FILES)
    if not weights:
        return path
    refuse_adapter(path)
    commit = revision if modelscope.is_used() else path.name
    _snapshot(repo, commit, cache_dir, NESTED, top_level=False)
    if (path / "config.json").is_file():
        check(path)
    path = _snapshot(repo, commit, cache_dir, [*TEXT_FILES, "pytorch_model*.bin" if pickled else "*.safetensors"])
    if not pickled and not any(path.glob("*.safetensors")):
        _refuse_other_weights(repo, path.name)
    return path


def _snapshot(repo: str, revision: str | None, cache_dir: Path | None, patterns: list[str], *, top_level: bool = True) -> Path:
    if modelscope.is_used():
        return modelscope.fetch(repo, revision, cache_dir, patterns)
    with _as_model_not_found(repo, revision):
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(
                repo, revision=revision, cache_dir=cache_dir, allow_patterns=patterns,
                ignore_patterns=["*/*"] if top_level else None,
            )
        )  # fmt: skip


def _refuse_other_weights(repo: str, revision: str) -> None:
    """Raises with what the repository has in place of safetensors, where it has something."""
    if modelscope.is_used():
        raise ModelNotFound(f"{repo} has no safetensors files on ModelScope", hint="name another model, or a GGUF file")
    with _as_model_not_found(repo, revision):
        from huggingface_hub import HfApi

        names = HfApi().list_repo_files(repo, revision=revision)
    pickles = [name for name in names if name.endswith(PICKLE_SUFFIXES)]
    ggufs = sorted((name for name in names if name.endswith(".gguf")), key=lambda name: not begins_model(name))
    if ggufs:
        raise ModelNotFound(f"{repo} has no safetensors files", hint=f"name one of its GGUF files: {repo}:{ggufs[0]}")
    if pickles:
        raise pickle_error(repo, pickles)


def fetch_file(repo: str, file: str, revision: str | None, cache_dir: Path | None) -> Path:
    """Returns a file of a repository, beside which are the other parts of a model that is split."""
    wanted = SPLIT.sub(lambda found: found[0].replace(found[1], "?????", 1), file)
    if modelscope.is_used():
        path = modelscope.fetch(repo, revision, cache_dir, [wanted]) / file
        if not path.is_file():
            raise ModelNotFound(f"{repo} has no file {file} on ModelScope", hint="check its name there")
        return path
    with _as_model_not_found(repo, revision):
        from huggingface_hub import snapshot_download

        # Not hf_hub_download: without a network that one retries for 20 seconds.
        path = Path(snapshot_download(repo, revision=revision, cache_dir=cache_dir, allow_patterns=[wanted])) / file
    if not path.is_file():
        raise ModelNotFound(f"{repo} has no file {file}", hint="check its name on the hub")
    return path


@contextmanager
def _as_model_not_found(repo: str, revision: str | None) -> Iterator[None]:
    try:
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise NotSupported(f"the hub model {repo} needs {error.name}", hint=install("engine")) from error
    at = f" at {revision}" if revision else ""
    transport_error: type[Exception] = errors.HfHubHTTPError.__bases__[0]  # of whichever HTTP library the hub's own uses
    offline = "is not in the hub's cache and the hub cannot be reached"
    try:
        with full_disk_is_an_error_of_ours(Path(constants.HF_HUB_CACHE), None, f"fetching {repo}"):
            yield
    except errors.GatedRepoError as error:
        raise ModelNotFound(f"{repo} is gated", hint="accept its terms on the hub and set HF_TOKEN") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise ModelNotFound(f"the hub has no {repo}{at}", hint="check the spelling; a private model needs HF_TOKEN") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        why = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON") else ""
        raise ModelNotFound(f"{repo}{at} {offline}{why}", hint="check the network, or use an alias or a path") from error
    except (transport_error, ConnectionError, TimeoutError) as error:
        raise ModelNotFound(f"{repo}{at} {offline}: {error}", hint="check the network, or use an alias or a path") from error
