"""Reads what a prompt names as a picture, from the places that are allowed."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, Any

from workbench.errors import InvalidRequest, NotSupported, in_one_line
from workbench.pictures.media import named_file, read_media, written_media

MAX_BYTES = 64 << 20
FETCH_S = 20.0
FIELD = "image_data"
ANYWHERE = "a file that exists, a URL, or base64 text"
ALLOWED = "a data URL, base64 text, or a URL or file that allowed_media names"
"""Sources of pictures: of a program's, and of a request's over HTTP. The latter finds out about no other file."""


class Reader:
    """Reads pictures as bytes. `allowed` names hosts and folders, with commas between; "*" is every host."""

    def __init__(self, allowed: str | None) -> None:
        places = [place.strip() for place in (allowed or "").split(",") if place.strip()]
        self.folders = [Path(place).expanduser().resolve() for place in places if "/" in place]
        self.hosts = {place.lower() for place in places if "/" not in place}

    def read(self, source: Any, *, is_local: bool) -> bytes:
        """Returns the bytes of a path, an http(s) or data URL, base64 text, or bytes. `is_local`: for a program of
        this process, which may read every file. Raises InvalidRequest, NotSupported for a place that is not allowed."""
        if isinstance(source, str | Path) and str(source).startswith(("http://", "https://")):
            return self._fetched(str(source))
        if not isinstance(source, str | Path):
            return _within(read_media(source, FIELD).data)
        path = _path_of(source)
        if path is not None and (is_local or self._is_allowed(path)):
            if path.stat().st_size > MAX_BYTES:
                raise _too_large(path.stat().st_size)
            return path.read_bytes()
        return _within(written_media(str(source), FIELD, ANYWHERE if is_local else ALLOWED).data)

    def _is_allowed(self, path: Path) -> bool:
        return any(path.resolve().is_relative_to(folder) for folder in self.folders)

    def check_host(self, url: str) -> None:
        """Raises NotSupported for a URL whose host is not allowed."""
        host = (urllib.parse.urlsplit(url).hostname or "").lower()
        if "*" not in self.hosts and host not in self.hosts:
            known = ", ".join(sorted(self.hosts)) or "none"
            message = f"pictures are not fetched from {host or 'this URL'}: hosts of allowed_media are {known}"
            raise NotSupported(message, hint=f"send the picture itself, or load with allowed_media={host!r}")

    def _fetched(self, url: str) -> bytes:
        self.check_host(url)
        opener = urllib.request.build_opener(_Redirects(self))
        try:
            with opener.open(url, timeout=FETCH_S) as answer:
                data: bytes = answer.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            reason = cause if isinstance(cause, BaseException) else error
            raise InvalidRequest.because(
                FIELD, f"{url} cannot be fetched: {in_one_line(reason)}", hint="send the picture itself"
            ) from None
        return _within(data)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection to an allowed host alone."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith(("http://", "https://")):
            raise InvalidRequest(FIELD, newurl, "a URL of http or https")
        self._reader.check_host(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _path_of(source: str | Path) -> Path | None:
    """Returns the file that a source names; None for other texts."""
    text = named_file(str(source))
    if text.startswith("data:") or len(text) >= 4096 or "\0" in text:
        return None
    try:
        path = Path(text).expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError):
        return None


def _within(data: bytes) -> bytes:
    if not data:
        raise InvalidRequest(FIELD, "of 0 bytes", "a picture")
    if len(data) > MAX_BYTES:
        raise _too_large(len(data))
    return data


def _too_large(size: int) -> InvalidRequest:
    return InvalidRequest(FIELD, f"a file of {size / (1 << 20):.0f} MiB or more", f"at most {MAX_BYTES >> 20} MiB")
