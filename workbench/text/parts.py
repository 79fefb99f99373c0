"""Pictures in conversations: takes them out of messages, and leaves parts that chat templates read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.errors import InvalidRequest

Message = dict[str, Any]
Media = tuple[str, Any]
"""Kind ("image" or "video") and source of a picture; a video's source may be the list of its frames, or a dict of either (`url`)
and of the frames to take (`fps` or `num_frames`)."""
WISHES = {"fps": "fps", "num_frames": "num_frames", "nframes": "num_frames"}
"""Keys of a part with a video that say which frames to take, and their names here."""
KINDS = {
    "image": "image", "image_url": "image", "input_image": "image",
    "video": "video", "video_url": "video", "input_video": "video",
}  # fmt: skip
"""Types of parts with pictures, in the words of several APIs."""


def take_media(messages: Sequence[Mapping[str, Any]], field: str = "messages") -> tuple[list[Message], list[Media]]:
    """Returns the messages with each picture as a part {"type": "image"} or {"type": "video"}, and the pictures in order.

    Neighbouring parts with `"modalities": "video"` are the frames of one video. Raises InvalidRequest where a source
    is missing.
    """
    taken: list[Media] = []
    made = [_without(dict(message), f"{field}[{i}].content", taken) for i, message in enumerate(messages)]
    return made, taken


def has_media(messages: Any) -> bool:
    """Returns whether any message has a part with a picture. Takes messages of any form."""
    if not isinstance(messages, Sequence):
        return False
    contents = [message.get("content") for message in messages if isinstance(message, Mapping)]
    return any(isinstance(part, Mapping) and part.get("type") in KINDS for parts in contents for part in _listed(parts))


def num_media(message: Mapping[str, Any]) -> int:
    """Returns the number of pictures in a message that `take_media` returned."""
    return sum(isinstance(part, Mapping) and part.get("type") in ("image", "video") for part in _listed(message.get("content")))


def fitted(messages: Sequence[Message], template: str, marks: Mapping[str, str]) -> list[Message]:
    """Returns the messages in the form that a template reads: content as parts throughout where it reads parts alone, and as
    text with the `marks` of pictures, by their kind, where it reads no parts."""
    reads_parts = "image" in template
    if not reads_parts:
        return [{**message, "content": _written(message.get("content"), marks)} for message in messages]
    if "is string" in template:
        return [*messages]
    return [_in_parts(message) for message in messages]


def _in_parts(message: Message) -> Message:
    content = message.get("content")
    return message | {"content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def _written(content: Any, marks: Mapping[str, str]) -> Any:
    if not isinstance(content, list):
        return content
    texts = [f"{marks[part['type']]}\n" if part.get("type") in marks else str(part.get("text", "")) for part in content]
    return "".join(texts)


def _without(message: Message, place: str, taken: list[Media]) -> Message:
    content = message.get("content")
    if not any(isinstance(part, Mapping) and part.get("type") in KINDS for part in _listed(content)):
        return message
    parts: list[Any] = []
    is_open = False
    for i, part in enumerate(_listed(content)):
        kind = KINDS.get(str(part.get("type"))) if isinstance(part, Mapping) else None
        if kind is None:
            parts.append({"type": "text", "text": part} if isinstance(part, str) else part)
            is_open = False
            continue
        source = _source(part, f"{place}[{i}]")
        is_frame = kind == "image" and part.get("modalities") == "video"
        if is_frame and is_open:
            taken[-1][1].append(source)
            continue
        kind, source = ("video", [source]) if is_frame else (kind, source)
        taken.append((kind, source))
        parts.append({"type": kind})
        is_open = is_frame
    return message | {"content": parts}


def _source(part: Mapping[str, Any], place: str) -> Any:
    """Returns the source of a part, the value of its `image_url`, `image`, `url`, `path` or the like, or the `url` in it; of a
    video with the frames to take, where it names these."""
    names = (str(part["type"]), "image_url", "video_url", "image", "video", "url", "path", "base64")
    found = next((part[name] for name in names if part.get(name) is not None), None)
    given = dict(part)
    if isinstance(found, Mapping):
        given |= found
        found = found.get("url")
    if found is None or found == "":
        raise InvalidRequest(place, part, 'a part like {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}')
    wish = {name: given[key] for key, name in WISHES.items() if given.get(key) is not None}
    return {"url": found, **wish} if wish and KINDS[str(part["type"])] == "video" else found


def _listed(content: Any) -> Sequence[Any]:
    return content if isinstance(content, (list, tuple)) else ()
