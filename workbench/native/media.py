"""Reads `image_data` and `modalities`: the pictures and videos of each prompt, as their caller gave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from workbench.errors import InvalidRequest

Modality = Literal["image", "multi-images", "video"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture or video of a prompt as its caller gave it."""

    kind: Literal["image", "video"]
    source: Any
    """Path, URL, base64 text, bytes or a picture of pillow; of a video the list of these for its frames, or an animated one."""


def read_shown(image_data: object, modalities: object, count: int, is_one: bool) -> list[tuple[Shown, ...]]:
    """Returns the pictures of each of `count` prompts.

    For one prompt `image_data` is a source or a list of them, for several a list with one such value for each. `modalities` is
    one word for all, or one for each picture: "image", "multi-images" (the same), or "video", whose frames are all sources
    or a list in the place of one. Raises InvalidRequest.
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
        is_frames = word == "video" and sources and not isinstance(sources[0], (list, tuple))
        return (Shown("video", sources),) if is_frames else tuple(Shown(_kind(word), source) for source in sources)
    words = [_word(word) for word in modalities]
    if words == ["video"] and not isinstance(sources[0], (list, tuple)):
        return (Shown("video", sources),)
    if len(words) == 1:
        words *= len(sources)
    if len(words) != len(sources):
        message = f"modalities has {len(words)} words for {len(sources)} pictures"
        raise InvalidRequest.because("modalities", message, hint="give one for each, or one for all")
    return tuple(Shown(_kind(word), source) for word, source in zip(words, sources, strict=True))


def _word(word: object) -> Modality:
    known: Sequence[Modality] = get_args(Modality)
    for one in known:
        if word == one:
            return one
    raise InvalidRequest("modalities", word, f"one of {', '.join(known)}")


def _kind(word: Modality) -> Literal["image", "video"]:
    return "video" if word == "video" else "image"
