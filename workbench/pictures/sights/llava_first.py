"""Pictures of LLaVA and Yi-VL in their authors' folders, which have no processor and in the tokenizer no token of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.errors import NotSupported
from workbench.pictures.llava_words import NORMED, in_later_words
from workbench.pictures.pixels import CLIP, HALVES
from workbench.pictures.places import Encode, encode_between, free_ids, is_unknown
from workbench.pictures.processor import Processor, StatedProcessor
from workbench.pictures.sight import PLACE, Seen, Sight, Words
from workbench.pictures.sights.llava import LlavaSight
from workbench.pictures.sights.llava_next import LlavaNextSight, OnevisionSight
from workbench.pictures.video import Frames

KINDS = {
    "llava": ("llava", "LlavaImageProcessorPil"), "next": ("llava_next", "LlavaNextImageProcessorPil"),
    "onevision": ("llava_onevision", "LlavaOnevisionImageProcessorPil"),
}  # fmt: skip
"""Transformers' processors: package and class."""


class FirstSight(LlavaSight):
    """Texts between pictures are made ids one by one. A picture's places have an id that no text has, or of unknown words."""

    kind = "llava"
    has_tokens = False

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        image, video = _ids_of(config, words)
        super().__init__(folder, {**config, "image_token_index": image, "video_token_index": max(video, 0)}, words)
        self.video_token_id, self.video_mark, self.video_placeholder = -1, "", ""
        if is_unknown(words, image):
            self.token_id, self.written_id = PLACE, image
        self.mark = self.placeholder = "<image_placeholder>" if config.get("mm_projector_type") == NORMED else "<image>"

    def open_processor(self) -> Processor:
        """Returns the processor that the authors' code makes: by the tower, and by the files in its folder or the model's."""
        tower = self.config["vision_config"]
        is_siglip = tower.get("model_type") == "siglip_vision_model"
        side, means = tower.get("image_size", 224), HALVES if is_siglip else CLIP
        settings: dict[str, Any] = {"image_mean": [*means[0]], "image_std": [*means[1]], "resample": 3}
        if self.kind == "onevision" or (self.kind == "llava" and is_siglip):
            settings |= {"size": {"height": side, "width": side}, "do_center_crop": False}
        else:
            settings |= {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
        if self.kind == "llava":
            settings["do_pad"] = self.config.get("image_aspect_ratio") == "pad"
        else:
            settings["image_grid_pinpoints"] = self.config["image_grid_pinpoints"]
        return StatedProcessor((Path(self.config["mm_vision_tower"]), self.folder), *KINDS[self.kind], settings)

    def encode(self, prompt: str, encode: Encode) -> tuple[int, ...]:
        marks = {self.mark: self.token_id, self.video_mark: self.video_token_id}
        return encode_between(prompt, marks, encode, lambda text: self.words.encode(text, add_special_tokens=False))


class FirstNextSight(FirstSight, LlavaNextSight):
    """Pictures of any resolution."""

    kind = "next"


class FirstOnevisionSight(FirstSight, OnevisionSight):
    """Those, shrunk to a number of squares; and videos, where the vocabulary has a second free id."""

    kind = "onevision"

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        super().__init__(folder, config, words)
        self.video_token_id = _ids_of(config, words)[1]
        if self.video_token_id >= 0:
            self.video_mark = self.video_placeholder = "<video>"

    def see_video(self, frames: Frames) -> Seen:
        stated = self.config.get("mm_spatial_pool_mode", "bilinear"), self.config.get("mm_newline_position", "one_token")
        if stated != ("bilinear", "one_token") or self.video_token_id < 0:
            raise NotSupported("videos of this model are not computed", hint="send the frames as pictures")
        return super().see_video(frames)


def first_sight(folder: Path, config: Mapping[str, Any], words: Words) -> Sight:
    """Returns the sight of a model in its authors' own folder, by the way in which it cuts pictures."""
    made = dict(config) | in_later_words(config, folder)
    if not made.get("image_grid_pinpoints") or "vision_aspect_ratio" not in made:
        return FirstSight(folder, made, words)
    return (FirstNextSight if made["vision_aspect_ratio"] is None else FirstOnevisionSight)(folder, made, words)


def _ids_of(config: Mapping[str, Any], words: Words) -> tuple[int, int]:
    """Returns the ids that stand for pictures and for videos; of pictures the stated one, where the vocabulary has it."""
    stated, size = config.get("image_token_index"), config["vocab_size"]
    if not isinstance(stated, int) or not 0 <= stated < size:
        image, video = free_ids(words, size, 2)
        return image, video
    return stated, next((one for one in free_ids(words, size, 2) if one > stated), -1)
