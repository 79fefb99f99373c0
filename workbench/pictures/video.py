"""Frames of videos: those that a model takes of an animated picture, a film or a list."""

from __future__ import annotations

import importlib
import io
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from workbench.errors import InvalidRequest, NotSupported, in_one_line, install
from workbench.pictures import image

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FRAMES = 768
"""Frames that are taken of one video."""
MAX_PICTURES = 20_000
"""Pictures of an animated one, and frames of a film."""
MAX_READ_PIXELS = 8_000_000_000
"""Pixels that are decoded at most: an hour of 240 x 135 at 60 frames a second has as many."""
LIST_FPS = 2.0
"""Frames of one second in a list of frames without times."""
USUAL_MS = 100
"""Time of a picture in an animated one that states none, as browsers have it."""
FILMS = {b"\x1a\x45\xdf\xa3": "matroska", b"OggS": "ogg", b"FLV\x01": "flv"}
"""Formats of films by their first bytes. A format is never guessed: some name other files, which would be read."""


@dataclass(frozen=True)
class Length:
    """The number of frames of a whole video, and how many of them are one second."""

    num_frames: int
    fps: float


@dataclass(frozen=True)
class Wish:
    """The frames that the caller wishes: so many a second, or so many in all. Both None: as many as the model usually takes."""

    fps: float | None = None
    num_frames: int | None = None


@dataclass(frozen=True)
class Frames:
    """The frames that a model takes of one video, in RGB."""

    pictures: list[Image]
    fps: float
    """Number of these that are one second."""


Choose = Callable[[Length, Wish], list[int]]
"""Returns the numbers of the frames to take, from 0 on."""


def read_frames(data: Sequence[bytes], wish: Wish, choose: Choose, field: str) -> Frames:
    """Returns the frames of a film, an animated picture, or a list of pictures. Of a list without a wished number all are taken,
    and the wished rate is its own.

    Raises InvalidRequest for what cannot be read, NotSupported for a film where the package for it is not installed.
    """
    if len(data) > 1:
        return _of_list(data, wish, field)
    if film := _film(data[0]):
        return _of_film(data[0], film, wish, choose, field)
    return _of_animated(data[0], wish, choose, field)


def evenly(num_frames: int, count: int) -> list[int]:
    """Returns the numbers of `count` frames, the first of as many equal parts each."""
    return [int(i * num_frames / count) for i in range(count)]


def _taken(length: Length, wish: Wish, choose: Choose, field: str) -> tuple[list[int], float]:
    """Returns the numbers of the frames to take, and how many of these are one second."""
    numbers = choose(length, wish)
    if len(numbers) > MAX_FRAMES:
        found = f"a video of which {len(numbers):,} frames are taken"
        raise InvalidRequest(field, found, f"at most {MAX_FRAMES}", hint="wish fewer: fps or num_frames")
    return numbers, length.fps * len(numbers) / length.num_frames


def _of_list(data: Sequence[bytes], wish: Wish, field: str) -> Frames:
    fps = wish.fps or LIST_FPS
    if wish.num_frames is not None and wish.num_frames < len(data):
        numbers = evenly(len(data), wish.num_frames)
        fps *= len(numbers) / len(data)
        data = [data[number] for number in numbers]
    if len(data) > MAX_FRAMES:
        raise InvalidRequest(field, f"a video of {len(data):,} frames", f"at most {MAX_FRAMES} frames")
    return Frames([image.decode(one, field) for one in data], fps)


def _of_animated(data: bytes, wish: Wish, choose: Choose, field: str) -> Frames:
    """Reads an animated GIF, WebP or PNG. Its pictures last for different times: frames are taken at even times."""
    picture = image.opened(data, field)
    count = getattr(picture, "n_frames", 1)
    width, height = picture.size
    _check_size(count, width, height, field)
    ends = [*accumulate(_time_ms(picture, at, field) for at in range(count))]
    numbers, fps = _taken(Length(count, 1000 * count / ends[-1]), wish, choose, field)
    times = [number * ends[-1] / count for number in numbers]
    shown = [min(bisect_right(ends, time + 0.5), count - 1) for time in times]  # half a millisecond: sums are not exact
    pictures = {}
    for at in sorted(set(shown)):
        picture.seek(at)
        pictures[at] = image.upright(picture.copy(), field)
    return Frames([pictures[at] for at in shown], fps)


def _time_ms(picture: Any, at: int, field: str) -> float:
    """Returns how long one of an animated picture's pictures lasts; a WebP has its time once it is decoded."""
    try:
        picture.seek(at)
        picture.load()
    except Exception:  # pillow's readers raise errors of many kinds
        message = f"an animated picture whose number {at} of {picture.n_frames} is cut off or damaged"
        raise InvalidRequest.because(field, message, hint="send the file whole") from None
    return float(picture.info.get("duration") or USUAL_MS)


def _film(data: bytes) -> str:
    """Returns the format of a film; empty for other data."""
    if data[4:8] == b"ftyp":
        return "mp4"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "avi"
    return next((name for start, name in FILMS.items() if data.startswith(start)), "")


def _of_film(data: bytes, film: str, wish: Wish, choose: Choose, field: str) -> Frames:
    av = _av()
    try:
        with av.open(io.BytesIO(data), format=film) as container:
            if not container.streams.video:
                raise InvalidRequest.because(field, "a film without pictures", hint="send one that has a video track")
            track = container.streams.video[0]
            track.thread_type = "AUTO"
            times = sorted(packet.pts for packet in container.demux(track) if packet.pts is not None)
            _check_size(len(times), track.width, track.height, field)
            if not times:
                raise InvalidRequest.because(field, "a film without frames", hint="send the file whole")
            rate = float(track.average_rate or track.guessed_rate or LIST_FPS)
            numbers, fps = _taken(Length(len(times), rate), wish, choose, field)
            wanted = [times[number] for number in numbers]
            container.seek(0)
            return Frames(_decoded(container.decode(track), wanted, field), fps)
    except av.error.FFmpegError as error:
        message = f"a film ({film}) of {len(data):,} bytes cannot be read: {in_one_line(error)}"
        raise InvalidRequest.because(field, message, hint="send the file whole, or its frames as a list") from None


def _decoded(frames: Any, wanted: list[int], field: str) -> list[Image]:
    """Returns the frames with the wanted times, or those behind them where a time has none."""
    found: list[Image] = []
    last: Any = None
    for frame in frames:
        while len(found) < len(wanted) and frame.pts is not None and frame.pts >= wanted[len(found)]:
            found.append(_turned(frame))
        last = frame
        if len(found) == len(wanted):
            return found
    if last is None:
        raise InvalidRequest.because(field, "a film whose frames cannot be decoded", hint="send the file whole")
    return [*found, *[_turned(last)] * (len(wanted) - len(found))]


def _turned(frame: Any) -> Image:
    """Returns a frame as a picture, upright."""
    picture: Image = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation % 360 else picture


def _check_size(count: int, width: int, height: int, field: str) -> None:
    if count > MAX_PICTURES or count * width * height > MAX_READ_PIXELS:
        found = f"a video of {count:,} frames of {width:,} x {height:,} pixels"
        limit = f"at most {MAX_PICTURES:,} frames and {MAX_READ_PIXELS:,} pixels"
        raise InvalidRequest(field, found, limit, hint="cut it, or make it smaller")


def _av() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError:
        hint = f"{install('video')}, or send its frames as a list or an animated GIF"
        raise NotSupported("films need the package av", hint=hint) from None
