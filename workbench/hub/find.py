"""From a model's name to a folder on disk: `resolve(name)`.

A name is an alias of the catalog, a local folder, a GGUF file, or a Hugging Face id: `org/name`, `org/name@revision`,
`org/name:file.gguf`. A GGUF is converted once, into the cache. What is ready is returned without taking a lock and
without loading torch or the gguf library; whoever must fetch or convert holds the lock of that model, and a second
process waits for it.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.config import home
from workbench.errors import InvalidRequest, ModelNotFound, NotSupported, WorkbenchError, install
from workbench.hub import hf_hub
from workbench.hub.catalog import CATALOG, CatalogEntry
from workbench.hub.disk import MB, appearing_folder, full_disk_is_an_error_of_ours
from workbench.hub.progress import Bars
from workbench.hub.wheels import fetch_gguf, installed_gguf
from workbench.model.folder import ModelFolder, Progress, check_folder, is_converted

CLOSE = 0.6
"""Similarity from which a name is taken for a misspelt alias; "llama3" and "smollm2-135m" have 0.44."""
GGUF_MAGIC = b"GGUF"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def models_dir(download_dir: str | os.PathLike[str] | None = None) -> Path:
    """`download_dir`, else WORKBENCH_HOME/models, else ~/.cache/workbench/models."""
    if download_dir is not None:
        return Path(download_dir).expanduser().absolute()
    return home() / "models"


def resolve(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    download_dir: str | os.PathLike[str] | None = None,
    load_format: str = "auto",
    override: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> ModelFolder:
    """The folder of a model, fetched and converted first if need be.

    `load_format`: "safetensors" and "gguf" insist on that kind of file; "dummy" is content with a config.json.
    `override` replaces keys of config.json; what the result says that does not run is refused before weights are fetched.
    `progress` is called while bytes move; by default a bar is drawn where tqdm is installed.
    Raises ModelNotFound (with every place that was searched), ModelUnsupported, ModelCorrupt, DiskFull.
    """
    text = os.fspath(name)
    entry, root = CATALOG.get(text), models_dir(download_dir)
    is_local = entry is None and os.path.exists(os.path.expanduser(text))
    if revision is not None and (entry is not None or is_local):
        raise InvalidRequest("revision", revision, f"left out: {text} is not a hub model and has one version")
    steps, cache_dir = progress or Bars(), None if download_dir is None else root
    if entry is not None:
        return _resolve_alias(entry, root, load_format, steps)
    if is_local:
        path = Path(text).expanduser()
        if path.is_dir():
            return _resolve_folder(path, text, root, load_format, override, steps)
        return _resolve_gguf(path, text, root, load_format, steps)
    repo, file, at = _split(text)
    if repo is None:
        raise _unknown(text)
    if file:
        _want_format(load_format, "gguf", text)
        path = hf_hub.fetch_file(repo, file, revision or at, cache_dir)
        return replace(_resolve_gguf(path, text, root, load_format, steps), source=f"hub {repo}, {file}")
    _want_format(load_format, "safetensors", text)
    path = hf_hub.fetch_folder(repo, revision or at, cache_dir, weights=load_format != "dummy", override=override)
    check_folder(path, load_format, override)
    return ModelFolder(path, text, f"hub {repo} at {path.name}")


def gguf_path(name: str, *, download_dir: str | os.PathLike[str] | None = None, progress: Progress | None = None) -> Path:
    """The GGUF file behind an alias (fetched if need be) or at a path."""
    entry = CATALOG.get(name)
    if entry is None:
        path = Path(name).expanduser()
        if path.is_file():
            return path
        raise ModelNotFound(f"{name} is neither an alias nor a GGUF file", hint=f"aliases: {', '.join(CATALOG)}")
    root = models_dir(download_dir)
    return _present_gguf(entry, root) or _locked_gguf(entry, root, progress or Bars())


def entry_home(entry: CatalogEntry, root: Path) -> Path:
    """Everything of one alias: `gguf/` (the file and its papers) and `hf/` (the converted folder)."""
    return root / entry.alias


def _resolve_alias(entry: CatalogEntry, root: Path, load_format: str, progress: Progress) -> ModelFolder:
    if load_format == "safetensors":
        _want_format(load_format, "gguf", entry.alias)
    folder = entry_home(entry, root) / "hf"
    if not is_converted(folder):
        try:
            gguf = gguf_path(entry.alias, download_dir=root, progress=progress)
        except ModelNotFound as miss:
            return _from_hub(entry, root, miss)
        with lock_model(root, entry.alias):
            _convert(gguf, folder, progress)
    present = _present_gguf(entry, root, check=False)
    package = entry.wheels[-1]
    return ModelFolder(folder, entry.alias, f"package {package.project} {package.version}", entry.license, present)


def _present_gguf(entry: CatalogEntry, root: Path, check: bool = True) -> Path | None:
    path = entry_home(entry, root) / "gguf" / entry.gguf
    if path.is_file() and path.stat().st_size == entry.size:
        return path
    return installed_gguf(entry, check)


def _locked_gguf(entry: CatalogEntry, root: Path, progress: Progress) -> Path:
    with lock_model(root, entry.alias):
        path = _present_gguf(entry, root)  # another process may have fetched it while we waited
        if path is None:
            path = fetch_gguf(entry, entry_home(entry, root), progress)
            if entry.terms:
                print(f"{entry.alias}: {entry.terms}\n  A copy is in {path.parent}", file=sys.stderr)
    return path


def _from_hub(entry: CatalogEntry, root: Path, miss: ModelNotFound) -> ModelFolder:
    """The second way to an alias; when it fails too, one error tells of both."""
    try:
        path = hf_hub.fetch_folder(entry.hub_id, None, None)
        check_folder(path)
    except WorkbenchError as error:
        packages = ", ".join(wheel.project for wheel in entry.wheels)
        raise ModelNotFound(
            f"{entry.alias} was found nowhere: not in {root}; not installed ({packages}); {miss.message}; {error.message}",
            hint=f"{miss.hint}; or put a GGUF or safetensors model on this machine and give its path",
        ) from miss
    return ModelFolder(path, entry.alias, f"hub {entry.hub_id} at {path.name}", entry.license)


def _resolve_folder(
    path: Path, name: str, root: Path, load_format: str, override: Mapping[str, Any] | None, progress: Progress
) -> ModelFolder:
    ggufs = sorted(path.glob("*.gguf"))
    if load_format == "gguf" or (ggufs and not (path / "config.json").exists()):
        if len(ggufs) != 1:
            raise ModelNotFound(f"{path} has {len(ggufs)} GGUF files", hint="give the path of the one that is meant")
        return _resolve_gguf(ggufs[0], name, root, load_format, progress)
    check_folder(path, load_format, override)
    return ModelFolder(path.absolute(), name, f"folder {path}")


def _resolve_gguf(path: Path, name: str, root: Path, load_format: str, progress: Progress) -> ModelFolder:
    _want_format(load_format, "gguf", name)
    refuse_other_file(path)
    state, stem = path.stat(), re.sub(r"[^\w.-]", "-", path.stem)
    identity = hashlib.sha256(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:12]
    folder = root / "gguf" / f"{stem}-{identity}"
    if not is_converted(folder):
        with lock_model(root, folder.name):
            _convert(path, folder, progress, lambda size: _tell_copy(path, folder, size))
    return ModelFolder(folder, name, f"file {path}", gguf=path.absolute())


def refuse_other_file(path: Path) -> None:
    """Raises for a file that is no GGUF: one file of a model stands for nothing, its folder does."""
    with path.open("rb") as file:
        if path.suffix == ".gguf" or file.read(len(GGUF_MAGIC)) == GGUF_MAGIC:
            return
    folder = path.absolute().parent
    if path.suffix == ".safetensors" or (folder / "config.json").is_file():
        raise ModelNotFound(f"{path} is one file of a model", hint=f"give the folder that holds it: {folder}")
    raise ModelNotFound(
        f"{path} ({path.stat().st_size:,} bytes) is no GGUF file, and no folder of a model",
        hint="give a GGUF file, or the folder with config.json and *.safetensors",
    )


def _tell_copy(path: Path, folder: Path, size: int) -> None:
    print(
        f"{path.name} is written out once in float32: {size / MB:,.0f} MB in {folder}\n"
        f"  workbench models remove gguf/{folder.name} frees them again; {path.name} stays as it is",
        file=sys.stderr,
    )


def _convert(gguf: Path, folder: Path, progress: Progress, tell: Callable[[int], None] = lambda size: None) -> None:
    """Under the lock. Does nothing when another process did it while we waited. `tell` hears the size of the weights first."""
    if is_converted(folder):
        return
    try:
        from workbench.hub.gguf_convert import convert
    except ImportError as error:
        raise NotSupported(f"converting {gguf.name} needs {error.name}", hint=install("engine")) from error
    with (
        full_disk_is_an_error_of_ours(folder.parent, None, f"converting {gguf.name}"),
        appearing_folder(folder) as work,
    ):
        convert(gguf, work, progress, tell)


@contextmanager
def lock_model(root: Path, name: str) -> Iterator[None]:
    """One process at a time; a killed process gives its lock back to the system."""
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
    """(repository, file, revision) of `org/name`, `org/name@revision`, `org/name:file.gguf`."""
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
    if asked in ("safetensors", "gguf") and asked != is_kind:
        raise InvalidRequest("load_format", asked, f"auto or {is_kind} for {name}")
