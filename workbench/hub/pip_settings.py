"""Reads the sources of this user's Python packages in pip's order: environment before files, nearer files last.

Model files travel as wheels, so an index, mirror, proxy or certificate that a site has set up for pip serves them too.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PUBLIC_INDEX = "https://pypi.org/simple/"  # pip's own default


@dataclass(frozen=True)
class PipSettings:
    index_urls: tuple[str, ...] = (PUBLIC_INDEX,)
    find_links: tuple[str, ...] = ()
    """Folders, or pages with links to wheels."""
    cert: str | None = None
    """File or folder of certificates."""
    proxy: str | None = None
    timeout_s: float = 30.0


def read_pip_settings(environ: Mapping[str, str] = os.environ) -> PipSettings:
    values = _from_files(environ)
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            values[name[4:].lower().replace("_", "-")] = value
    index = values.get("index-url") or environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or PUBLIC_INDEX
    extra = values.get("extra-index-url") or " ".join(environ.get(name, "") for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL"))
    no_index = values.get("no-index", "").lower() in ("1", "true", "yes", "on")
    try:
        timeout_s = float(values.get("timeout") or values.get("default-timeout") or 30)
    except ValueError:
        timeout_s = 30.0
    return PipSettings(
        index_urls=() if no_index else (index, *(url.rpartition("=")[2] for url in extra.split())),
        find_links=tuple(values.get("find-links", "").split()),
        cert=values.get("cert"),
        proxy=values.get("proxy"),
        timeout_s=timeout_s,
    )


def _from_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the options of `[global]`, then those of `[download]`, of all files; a later file replaces an earlier one."""
    values: dict[str, str] = {}
    for path in _config_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip itself will complain about its file
        for section in ("global", "download"):
            if parser.has_section(section):
                values |= {name.lower().replace("_", "-"): value for name, value in parser.items(section)}
    return values


def _config_files(environ: Mapping[str, str]) -> Iterator[Path]:
    own = environ.get("PIP_CONFIG_FILE")
    if own == os.devnull:  # pip's way to say: no files
        return
    home = Path.home()
    name = "pip.ini" if sys.platform == "win32" else "pip.conf"
    if sys.platform == "win32":
        yield Path(environ.get("PROGRAMDATA", "C:/ProgramData"), "pip", name)
        yield home / "pip" / name
        yield Path(environ.get("APPDATA", str(home)), "pip", name)
    else:
        if sys.platform == "darwin":
            yield Path("/Library/Application Support/pip", name)
        for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"):
            yield Path(folder, "pip", name)
        yield Path("/etc", name)
        yield home / ".pip" / name
        yield Path(environ.get("XDG_CONFIG_HOME", str(home / ".config")), "pip", name)
        if sys.platform == "darwin":
            yield home / "Library/Application Support/pip" / name
    yield Path(sys.prefix, name)
    if own:
        yield Path(own)
