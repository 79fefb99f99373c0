"""The aliases as a list, and fetching, verifying and removing one. `workbench models` and `%wb models` print these."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import ModelCorrupt, ModelNotFound
from workbench.hub.catalog import CATALOG, CatalogEntry
from workbench.hub.disk import bytes_in, sha256_of
from workbench.hub.find import LocalModel, entry_home, lock_model, models_dir, present_weights, resolve
from workbench.hub.progress import Progress


@dataclass(frozen=True)
class ModelRow:
    """One line of the list."""

    name: str
    title: str
    state: str
    """"ready" (fetched), "installed" (as a package) or "not fetched"."""
    num_bytes: int
    """Bytes on disk now; what a fetch would leave there when nothing is."""
    license: str
    path: Path


def list_models(download_dir: str | None = None) -> list[ModelRow]:
    """Returns a row for every alias."""
    root = models_dir(download_dir)
    return [_row(entry, root) for entry in CATALOG.values()]


def _row(entry: CatalogEntry, root: Path) -> ModelRow:
    home, weights = entry_home(entry, root), present_weights(entry, root, check=False)
    state = "not fetched" if weights is None else "ready" if weights.is_relative_to(home) else "installed"
    num_bytes = bytes_in(home) if home.exists() else entry.size
    return ModelRow(entry.alias, entry.title, state, num_bytes, entry.license, home)


def fetch(name: str, download_dir: str | None = None, progress: Progress | None = None) -> LocalModel:
    """Fetches a model and returns where it is; does nothing when it is here."""
    return resolve(name, download_dir=download_dir, progress=progress)


def verify(name: str, download_dir: str | None = None) -> list[Path]:
    """Reads an alias's files again and compares their sha256; returns the files. Raises ModelCorrupt, ModelNotFound."""
    entry, root = _entry(name), models_dir(download_dir)
    path = present_weights(entry, root, check=False)
    fetched = entry_home(entry, root) / entry.format / entry.file
    if path is None and fetched.is_file():
        path = fetched  # of another size than it should be
    if path is None:
        raise ModelNotFound(f"there is nothing of {name} in {fetched.parent.parent}", hint=f"workbench models fetch {name}")
    found = sha256_of(path)
    if found != entry.sha256:
        hint = f"workbench models remove {name}, then fetch it again"
        raise ModelCorrupt(f"{path} has sha256 {found}, it should be {entry.sha256}", hint=hint)
    return [path]


def remove(name: str, download_dir: str | None = None) -> int:
    """Deletes what was fetched for an alias and returns the bytes that were freed."""
    root = models_dir(download_dir)
    folder = entry_home(_entry(name), root)
    if not folder.exists():
        raise ModelNotFound(f"there is nothing of {name} in {folder}", hint="workbench models list shows what is there")
    with lock_model(root, name):
        freed = bytes_in(folder)
        shutil.rmtree(folder)
    return freed


def _entry(name: str) -> CatalogEntry:
    """Returns the entry of an alias. Raises ModelNotFound for other names: they cannot be verified or removed here."""
    if name not in CATALOG:
        raise ModelNotFound(f"{name} is not an alias", hint=f"aliases: {', '.join(CATALOG)}")
    return CATALOG[name]
