"""From a catalog entry to its files: packages that are installed, else wheels from the package index, without pip."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from workbench.errors import ModelCorrupt, ModelNotFound
from workbench.hub.catalog import CatalogEntry, Member, Wheel
from workbench.hub.disk import appearing_folder, full_disk_is_an_error_of_ours, need_room, sha256_of
from workbench.hub.download import download
from workbench.hub.package_index import Web, WheelNotFound, find_wheel
from workbench.hub.pip_settings import PipSettings, read_pip_settings
from workbench.hub.progress import Progress

BLOCK = 1 << 20
Opener = Callable[[Member], AbstractContextManager[IO[bytes]]]


def installed_file(wheel: Wheel, member: Member) -> Path | None:
    """Returns the path of the member in an installed package, from its metadata; nothing is imported."""
    try:
        path = Path(str(importlib.metadata.distribution(wheel.project).locate_file(member.path)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() and path.stat().st_size == member.size else None


def installed_weights(entry: CatalogEntry, check: bool = True) -> Path | None:
    """Returns the weights inside an installed package, if they are there in one piece and (`check`) unchanged."""
    weights = [(wheel, member) for wheel in entry.wheels for member in wheel.members if member.weights]
    path = installed_file(*weights[0]) if len(weights) == 1 else None
    return path if path is not None and (not check or sha256_of(path) == entry.sha256) else None


def fetch_weights(entry: CatalogEntry, home: Path, progress: Progress) -> Path:
    """Leaves all files in the folder `home`/gguf or `home`/safetensors and returns the path of the weights; the wheels are
    deleted afterwards.

    Raises ModelNotFound with every place that was asked, ModelCorrupt, DiskFull.
    """
    downloads, what = home / "downloads", f"fetching {entry.alias}"
    need_room(home, entry.room, what)
    with full_disk_is_an_error_of_ours(home, entry.room, what):
        openers = [_opener(entry, wheel, downloads, progress) for wheel in entry.wheels]
        try:
            with appearing_folder(home / entry.format) as work:
                _unpack(entry, openers, work)
        except ModelCorrupt:
            shutil.rmtree(downloads, ignore_errors=True)  # or the next attempt would find the same wheels
            raise
        shutil.rmtree(downloads, ignore_errors=True)
    return home / entry.format / entry.file


def _unpack(entry: CatalogEntry, openers: list[Opener], folder: Path) -> None:
    """Joins the weights to one file and puts the other files beside it."""
    whole = hashlib.sha256()
    with (folder / entry.file).open("wb") as joined:
        for wheel, opener in zip(entry.wheels, openers, strict=True):
            for member in wheel.members:
                if member.weights:
                    _copy(member, opener, joined, whole)
                else:
                    path = folder / member.name
                    path.parent.mkdir(exist_ok=True)
                    with path.open("wb") as other:
                        _copy(member, opener, other, hashlib.sha256())
    if whole.hexdigest() != entry.sha256:
        raise ModelCorrupt(f"{entry.file} has sha256 {whole.hexdigest()}, the catalog states {entry.sha256}")


def _copy(member: Member, opener: Opener, into: IO[bytes], digest: hashlib._Hash) -> None:
    """Appends the member to `into` and to `digest`, and checks it against the catalog."""
    own, size = hashlib.sha256(), 0
    try:
        with opener(member) as source:
            while block := source.read(BLOCK):
                into.write(block)
                own.update(block)
                digest.update(block)
                size += len(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise ModelCorrupt(f"{member.path} cannot be unpacked: {error}", hint="fetch the model again") from error
    if own.hexdigest() != member.sha256:
        raise ModelCorrupt(
            f"{member.path} ({size:,} bytes) has sha256 {own.hexdigest()}, the catalog states {member.sha256}",
            hint="the package index serves another file under this name: try the public index, or a hub id",
        )


def _opener(entry: CatalogEntry, wheel: Wheel, downloads: Path, progress: Progress) -> Opener:
    """Opens the members of a wheel, from the installed package or from the wheel, which is fetched for it."""
    installed = {member: path for member in wheel.members if (path := installed_file(wheel, member))}
    if len(installed) == len(wheel.members):
        return lambda member: installed[member].open("rb")
    path = _wheel_file(entry, wheel, downloads, progress)

    @contextmanager
    def open_member(member: Member) -> Iterator[IO[bytes]]:
        with zipfile.ZipFile(path) as file, file.open(member.path) as source:
            yield source

    return open_member


def _wheel_file(entry: CatalogEntry, wheel: Wheel, downloads: Path, progress: Progress) -> Path:
    have = sorted(downloads.glob(f"{wheel.project.replace('-', '_')}-{wheel.version}-*.whl"))
    if have:
        return have[0]
    settings = read_pip_settings()
    web = Web(settings)
    try:
        link = find_wheel(wheel.project, wheel.version, settings, web)
    except WheelNotFound as miss:
        found = _by_pip(wheel, downloads, settings) if miss.ask_pip else None
        if found is None:
            raise ModelNotFound(
                f"no wheel {wheel.project} {wheel.version} for {entry.alias} ({'; '.join(miss.reasons)})",
                hint=f"check the network, or on a machine that has one: pip install --no-deps {wheel.project}=={wheel.version}",
            ) from miss
        return found
    if link.path is not None:
        return link.path
    return download(link, downloads / link.filename, web, progress)


def _by_pip(wheel: Wheel, downloads: Path, settings: PipSettings) -> Path | None:
    """Downloads with pip, which has keyrings, client certificates and trusted hosts; used if one of these may be missing."""
    if importlib.util.find_spec("pip") is None:
        return None
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--retries=1"]
    command += ["--no-input", f"--timeout={settings.timeout_s:g}", f"--dest={downloads}", f"{wheel.project}=={wheel.version}"]
    downloads.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return next(iter(sorted(downloads.glob(f"{wheel.project.replace('-', '_')}-{wheel.version}-*.whl"))), None)
