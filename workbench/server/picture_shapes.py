"""JSON schemas of pictures in requests, with the meaning of each field, for `/openapi.json`."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string", "minLength": 1}


def field(schema: dict[str, Any], meaning: str) -> dict[str, Any]:
    """Returns the schema of a field with its meaning."""
    return {**schema, "description": meaning}


def part(kind: str, meaning: str, /, **fields: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of a part of a message. The first field is required."""
    return {
        "type": "object", "description": meaning, "properties": {"type": {"const": kind}, **fields},
        "required": ["type", next(iter(fields))],
    }  # fmt: skip


def inner(meaning: str, **fields: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of an object in a part. The first field is required."""
    return {"type": "object", "description": meaning, "properties": fields, "required": [next(iter(fields))]}


SOURCE = "A data URL, base64 text, or a URL or file that --allowed-media names"
PICTURE_URL = field(TEXT, f"{SOURCE}: PNG, JPEG, WebP, GIF, BMP or TIFF.")
VIDEO_URL = field(TEXT, f"{SOURCE}: an animated GIF, WebP or PNG, or with the package av a film (mp4, mov, webm, mkv, avi).")
DETAIL = field({"enum": ["auto", "low", "high"]}, "No effect: the model's own processor sets the size of a picture.")
FPS = field(
    {"type": "number", "minimum": 0.001, "maximum": 1000},
    "Frames to take of one second; of a list of frames how many of them are one second. Else as the model's processor says.",
)
NUM_FRAMES = field({"type": "integer", "minimum": 1}, "Number of frames to take, evenly spaced, in the place of fps.")
MODALITIES = field(
    {"enum": ["image", "multi-images", "video"]}, "video: this picture and its neighbours are frames of one video."
)

PICTURE = part(
    "image_url", "A picture. It stands in the prompt where the part stands.",
    image_url=inner("The picture.", url=PICTURE_URL, detail=DETAIL), modalities=MODALITIES,
)  # fmt: skip
VIDEO = part(
    "video_url", "A video, for a model that sees videos.",
    video_url=inner("The video.", url=VIDEO_URL, fps=FPS, num_frames=NUM_FRAMES),
)  # fmt: skip
ANTHROPIC_PICTURE = part(
    "image", "A picture.",
    source={"anyOf": [
        inner("Base64 text.", data=field(TEXT, "The file as base64 text."), type={"const": "base64"},
              media_type=field(TEXT, "Its type, such as image/png.")) | {"required": ["type", "data"]},
        inner("An address.", url=PICTURE_URL, type={"const": "url"}) | {"required": ["type", "url"]},
    ]},
)  # fmt: skip
OF_PROMPT = {
    "anyOf": [
        PICTURE_URL,
        inner("A video.", url={"anyOf": [VIDEO_URL, {"type": "array", "items": PICTURE_URL, "minItems": 1}]}, fps=FPS,
              num_frames=NUM_FRAMES),
        field({"type": "array", "items": PICTURE_URL, "minItems": 1}, "The frames of a video."),
    ]
}  # fmt: skip
"""One picture or video of `image_data`."""
IMAGE_DATA = {
    "anyOf": [
        OF_PROMPT, {"type": "array", "items": {"anyOf": [OF_PROMPT, {"type": "array", "items": OF_PROMPT}, {"type": "null"}]}},
        {"type": "null"},
    ]
}  # fmt: skip
