"""Reads `image_data` and `modalities`: the pictures and videos of each prompt, as their caller gave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from workbench.checks import as_float, as_int, check_between
from workbench.errors import InvalidRequest

Modality = Literal["image", "multi-images", "video"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture or video of a prompt as its caller gave it."""

    kind: Literal["image", "video"]
    source: Any
    """Path, URL, base64 text, bytes or a picture of pillow; of a video the list of these for its frames, or a film or an animated
    picture."""
    fps: float | None = None
    """Frames to take of one second of a video; of a list of frames how many of them are one second."""
    num_frames: int | None = None
    """Number of frames to take of a video, evenly spaced."""


def read_shown(image_data: object, modalities: object, count: int, is_one: bool) -> list[tuple[Shown, ...]]:
    """Returns the pictures of each of `count` prompts.

    For one prompt `image_data` is a source or a list of them, for several a list with one such value for each. `modalities` is
    one word for all, or one for each picture: "image", "multi-images" (the same), or "video", whose frames are all sources
    or a list in the place of one. A video may also be a dict of `url` (its source, or the list of frames), and of `fps` or
    `num_frames`. Raises InvalidRequest.
    """
    if image_data is None or (isinstance(image_data, (list, tuple, str)) and not image_data):
        return [()] * count
    if is_one:
        return [_of_prompt(image_data, modalities)]
    if not isinstance(image_data, (list, tuple)) or len(image_data) != count:
        found = f"{len(image_data)} values" if isinstance(image_data, (list, tuple)) else "one value"
        message = f"image_data has {found} for {count} prompts"
        raise InvalidRequest.because("image_data", message, hint="give a list with the pictures of each prompt, or None for none")
    words = modalities if isinstance(modalities, (list, tuple)) and len(modalities) == count else [modalities] * count
    return [_of_prompt(each, word) for each, word in zip(image_data, words, strict=True)]


def media_options(media: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the options of a prompt with these pictures: the kind and the source of each."""
    return {"image_data": [source for _, source in media], "modalities": [kind for kind, _ in media]} if media else {}


def _of_prompt(given: Any, modalities: Any) -> tuple[Shown, ...]:
    if given is None:
        return ()
    sources = [*given] if isinstance(given, (list, tuple)) else [given]
    if isinstance(modalities, str) or modalities is None:
        word = _word(modalities or "image")
        if word == "video" and _are_frames(sources):
            return (Shown("video", sources),)
        return tuple(_shown(word, source) for source in sources)
    words = [_word(word) for word in modalities]
    if words == ["video"] and _are_frames(sources):
        return (Shown("video", sources),)
    if len(words) == 1:
        words *= len(sources)
    if len(words) != len(sources):
        message = f"modalities has {len(words)} words for {len(sources)} pictures"
        raise InvalidRequest.because("modalities", message, hint="give one for each, or one for all")
    return tuple(_shown(word, source) for word, source in zip(words, sources, strict=True))


def _are_frames(sources: Sequence[Any]) -> bool:
    """Returns whether these are the frames of one video, and no videos."""
    return bool(sources) and not isinstance(sources[0], (list, tuple, Mapping))


def _shown(word: Modality, source: Any) -> Shown:
    if not isinstance(source, Mapping):
        return Shown(_kind(word), source)
    if word != "video":
        raise InvalidRequest("image_data", source, "a path, a URL, base64 text, bytes or a picture of pillow")
    if source.get("url") is None or source.keys() - {"url", "fps", "num_frames"}:
        raise InvalidRequest("image_data", source, 'a dict of "url" and of "fps" or "num_frames"')
    fps, num_frames = source.get("fps"), source.get("num_frames")
    if fps is not None and num_frames is not None:
        raise InvalidRequest.because("fps", "a video has fps and num_frames", hint="keep one of them")
    fps = fps if fps is None else as_float("fps", fps)
    num_frames = num_frames if num_frames is None else as_int("num_frames", num_frames)
    if fps is not None:
        check_between("fps", fps, 1e-3, 1000)
    if num_frames is not None:
        check_between("num_frames", num_frames, 1)
    return Shown("video", source["url"], fps, num_frames)


def _word(word: object) -> Modality:
    known: Sequence[Modality] = get_args(Modality)
    for one in known:
        if word == one:
            return one
    raise InvalidRequest("modalities", word, f"one of {', '.join(known)}")


def _kind(word: Modality) -> Literal["image", "video"]:
    return "video" if word == "video" else "image"
