"""Decodes pictures: bytes to pixels, within limits, and small forms of them for views."""

from __future__ import annotations

import base64
import importlib
import io
import warnings
from typing import TYPE_CHECKING, Any

from workbench.errors import InvalidRequest
from workbench.pictures.processor import pillow

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 64_000_000
THUMBNAIL = 48
"""Longest side of a small form in pixels."""


def decode(data: bytes, field: str = "image_data") -> Image:
    """Returns a picture in RGB, upright. Raises InvalidRequest for bytes that are none, are cut off, or have too many pixels."""
    return upright(opened(data, field), field)


def thumbnail(picture: Image) -> str:
    """Returns a small form as a `data:` URL of a few kilobytes at most."""
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=60)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def opened(data: bytes, field: str) -> Any:
    """Returns a picture that is not decoded yet, of an animated one the first. Raises as `decode`."""
    image = pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture = image.open(io.BytesIO(data), formats=FORMATS)
        except image.DecompressionBombError:
            raise _too_large(field, "more pixels than pillow reads") from None
        except Exception:  # pillow's readers raise errors of many kinds
            limit = f"a picture ({', '.join(FORMATS)})"
            raise InvalidRequest(field, f"{len(data):,} bytes that begin with {data[:12]!r}", limit) from None
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise _too_large(field, f"{width:,} x {height:,} pixels")
    return picture


def upright(picture: Any, field: str) -> Image:
    """Returns a picture, decoded if need be, in RGB and upright. Raises InvalidRequest for damaged bytes."""
    try:
        picture.load()
        turned = importlib.import_module("PIL.ImageOps").exif_transpose(picture)
        made: Image = turned.convert("RGB")
    except Exception:
        width, height = picture.size
        message = f"{field} has a picture of {width:,} x {height:,} pixels whose bytes are cut off or damaged"
        raise InvalidRequest.because(field, message, hint="send the file whole") from None
    if min(made.size) < 1:
        raise InvalidRequest(field, "a picture without pixels", "a picture of 1 x 1 pixels or more")
    return made


def _too_large(field: str, found: str) -> InvalidRequest:
    return InvalidRequest(field, found, f"at most {MAX_PIXELS:,} pixels", hint="make it smaller: models read far fewer")
