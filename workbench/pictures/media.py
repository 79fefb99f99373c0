"""Reads the images and videos of a program as bytes. Uses only the standard library."""

from __future__ import annotations

import base64
import binascii
import io
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from workbench.errors import InvalidRequest

SIGNATURES = ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))


@dataclass(frozen=True)
class Media:
    """An image or video: either a `url` (http or https, not fetched here), or `data` with its `media_type`."""

    media_type: str = ""
    data: bytes = b""
    url: str = ""

    @property
    def base64(self) -> str:
        """The bytes as base64 text."""
        return base64.b64encode(self.data).decode()

    @property
    def as_url(self) -> str:
        """The URL, or the bytes as a `data:` URL."""
        return self.url or f"data:{self.media_type};base64,{self.base64}"


def read_media(source: Any, kind: str = "image") -> Media:
    """Reads the `source` of an `Image` or `Video` node. Raises InvalidRequest if it cannot be read."""
    if isinstance(source, bytes):
        return Media(_type_of(source, kind), source)
    if hasattr(source, "save") and hasattr(source, "mode"):  # a PIL image
        buffer = io.BytesIO()
        plain = source if source.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else source.convert("RGB")
        plain.save(buffer, format="PNG")
        return Media("image/png", buffer.getvalue())
    if not isinstance(source, str | Path):
        raise InvalidRequest(kind, source, "a path, a URL, base64 text, bytes or a PIL image")
    text = str(source)
    if text.startswith(("http://", "https://")):
        return Media(url=text)
    if text.startswith("data:"):
        return written_media(text, kind)
    path = Path(named_file(text)).expanduser()
    if len(text) < 4096 and path.is_file():
        data = path.read_bytes()
        return Media(mimetypes.guess_type(text)[0] or _type_of(data, kind), data)
    return written_media(text, kind)


def named_file(text: str) -> str:
    """Returns the path that a `file:` URL names; any other text as it is."""
    url = urlsplit(text) if text.startswith("file:") else None
    return text if url is None or url.netloc not in ("", "localhost") else unquote(url.path)


def written_media(text: str, kind: str = "image", limit: str = "a file that exists, a URL, or base64 text") -> Media:
    """Reads a data URL, or base64 text. Raises InvalidRequest for another text, with what it may be as the `limit`."""
    if not text.startswith("data:"):
        data = _decoded(text, kind, limit)
        return Media(_type_of(data, kind), data)
    head, _, body = text[5:].partition(",")
    media_type, _, coding = head.rpartition(";")
    if coding.strip() != "base64":
        raise InvalidRequest(kind, text, "a data URL in base64 (data:image/png;base64,...)")
    return Media(media_type.strip(), _decoded(unquote(body), kind, limit))


def _decoded(text: str, kind: str, limit: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)  # some write it in lines
    except (binascii.Error, ValueError):
        raise InvalidRequest(kind, text, limit) from None


def _type_of(data: bytes, kind: str) -> str:
    found = next((name for signature, name in SIGNATURES if data.startswith(signature)), None)
    return found or ("video/mp4" if kind == "video" else "application/octet-stream")
