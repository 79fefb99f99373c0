"""Pictures on their way to an engine's process: the arrays of each are in a message once, however many requests have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import structs

from workbench.types import Array, Request


def packed(requests: Sequence[Request]) -> list[Request]:
    """Returns the requests with the arrays of a picture in the first place alone where it stands."""
    sent: set[str] = set()
    made = []
    for request in requests:
        kept = []
        for picture in request.pictures:
            kept.append(structs.replace(picture, arrays={}, thumbnail="") if picture.digest in sent else picture)
            sent.add(picture.digest)
        made.append(structs.replace(request, pictures=tuple(kept)) if kept else request)
    return made


def unpacked(requests: Sequence[Request]) -> list[Request]:
    """Returns the requests of `packed` as they were; equal pictures share their arrays."""
    came: dict[str, tuple[Mapping[str, Array], str]] = {}
    made = []
    for request in requests:
        whole = []
        for picture in request.pictures:
            arrays, thumbnail = came.setdefault(picture.digest, (picture.arrays, picture.thumbnail))
            whole.append(structs.replace(picture, arrays=arrays, thumbnail=thumbnail))
        made.append(structs.replace(request, pictures=tuple(whole)) if whole else request)
    return made
