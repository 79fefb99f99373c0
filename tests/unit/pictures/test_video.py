"""Frames of videos: lists, animated pictures and films, sampled at even times."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from PIL import Image

from workbench.errors import InvalidRequest, NotSupported
from workbench.pictures import video
from workbench.pictures.video import Frames, Length, Wish, evenly, read_frames

ANY = Wish()
GREYS = [0, 40, 80, 120, 160, 200]


def still(grey: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, (grey, grey, grey))


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def animated(kind: str, times_ms: list[int]) -> bytes:
    first, *rest = map(still, GREYS[: len(times_ms)])
    return encoded(first, kind, save_all=True, append_images=rest, duration=times_ms, loop=0)


def film(fps: int = 5, container: str = "mp4", codec: str = "mpeg4") -> bytes:
    av = pytest.importorskip("av", reason="films need the package av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        track = out.add_stream(codec, rate=fps)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for grey in GREYS:
            out.mux(track.encode(av.VideoFrame.from_image(still(grey))))
        out.mux(track.encode())
    return buffer.getvalue()


def choose(length: Length, wish: Wish) -> list[int]:
    """Takes every second frame where nothing is wished."""
    count = wish.num_frames or (round(length.num_frames / length.fps * wish.fps) if wish.fps else length.num_frames // 2)
    return evenly(length.num_frames, count)


def greys(frames: Frames) -> list[int]:
    return [round(picture.getpixel((5, 5))[0] / 40) * 40 for picture in frames.pictures]


def read(data: bytes | list[bytes], wish: Wish = ANY) -> Frames:
    return read_frames(data if isinstance(data, list) else [data], wish, choose, "image_data")


def test_a_list_is_taken_whole_at_its_own_rate():
    data = [encoded(still(grey)) for grey in GREYS]
    assert (greys(read(data)), read(data).fps) == (GREYS, 2.0)
    assert (greys(read(data, Wish(fps=4))), read(data, Wish(fps=4)).fps) == (GREYS, 4.0)
    fewer = read(data, Wish(num_frames=3))
    assert (greys(fewer), fewer.fps) == ([0, 80, 160], 1.0)
    assert greys(read(data, Wish(num_frames=99))) == GREYS


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_frames_of_an_animated_picture_are_taken_at_even_times(kind: str):
    even = animated(kind, [200] * 6)
    found = read(even, Wish(fps=5))
    assert (greys(found), found.fps) == (GREYS, pytest.approx(5))
    found = read(even)
    assert (greys(found), found.fps) == ([0, 80, 160], pytest.approx(2.5))
    uneven = read(animated(kind, [1000, 200, 200, 200, 200, 200]), Wish(num_frames=4))
    assert (greys(uneven), uneven.fps) == ([0, 0, 40, 80], pytest.approx(2))


@pytest.mark.parametrize(("container", "codec"), [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mpeg4"), ("mov", "mpeg4")])
def test_frames_of_a_film(container: str, codec: str):
    data = film(5, container, codec)
    found = read(data, Wish(fps=5))
    assert (greys(found), found.fps) == (GREYS, pytest.approx(5))
    assert greys(read(data, Wish(num_frames=2))) == [0, 120]
    assert found.pictures[0].size == (64, 48)


def test_a_film_that_is_cut_off_or_has_no_pictures_is_refused():
    data = film()
    for bad in (data[:200], data[:8] + bytes(400), b"\x1a\x45\xdf\xa3" + bytes(100)):
        with pytest.raises(InvalidRequest, match="film"):
            read(bad)


def test_an_animated_picture_that_is_cut_off_is_refused():
    for kind in ("GIF", "PNG"):
        data = encoded(noisy(0), kind, save_all=True, append_images=[noisy(seed) for seed in range(1, 5)], duration=100)
        with pytest.raises(InvalidRequest, match=r"cut off or damaged|it must be a picture"):
            read(data[: len(data) * 2 // 3], Wish(num_frames=5))


def noisy(seed: int) -> Image.Image:
    return Image.frombytes("RGB", (64, 48), random.Random(seed).randbytes(64 * 48 * 3))


def test_films_need_a_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(NotSupported, match=r"package av\n.*\[video\]"):
        read(b"\0\0\0\x18ftypmp42" + bytes(100))


@pytest.mark.parametrize(
    "text", [b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n"]
)
def test_a_list_of_other_files_is_no_film(text: bytes):
    with pytest.raises(InvalidRequest, match="it must be a picture"):
        read(text)


def test_limits(monkeypatch: pytest.MonkeyPatch):
    data = animated("GIF", [100] * 6)
    monkeypatch.setattr(video, "MAX_FRAMES", 4)
    with pytest.raises(InvalidRequest, match="6 frames"):
        read(data, Wish(num_frames=6))
    with pytest.raises(InvalidRequest, match="6 frames"):
        read([encoded(still(grey)) for grey in GREYS])
    assert len(read(data, Wish(num_frames=4)).pictures) == 4
    for name, most in (("MAX_PICTURES", 5), ("MAX_READ_PIXELS", 64 * 48 * 5)):
        monkeypatch.setattr(video, name, most)
        with pytest.raises(InvalidRequest, match="a video of 6 frames of 64 x 48 pixels"):
            read(data)
        monkeypatch.undo()


class Turned:
    """A frame of a film that was taken with the camera on its side."""

    rotation = 90
    pts = 0

    def to_image(self) -> Image.Image:
        return Image.new("RGB", (4, 2))


def test_a_frame_is_shown_upright():
    assert video._turned(Turned()).size == (2, 4)
