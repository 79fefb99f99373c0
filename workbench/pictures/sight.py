"""The base of every family's way from a picture to arrays, and to the text in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from workbench.errors import ModelCorrupt, NotSupported
from workbench.pictures.processor import Processor, read_json
from workbench.pictures.video import Frames, Length, Wish, evenly
from workbench.types import Axes
from workbench.types import Picture as PromptPicture

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


PLACE = -2
"""Stands in the places of pictures while a prompt is read, where the id that the model gets there is that of a word too."""


class Words(Protocol):
    """The part of a tokenizer that sights use."""

    @property
    def vocab_size(self) -> int:
        """Number of its ids, added tokens included."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> tuple[int, ...]: ...

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str: ...


@dataclass(frozen=True)
class Seen:
    """One picture or video as a model takes it."""

    arrays: Mapping[str, np.ndarray[Any, Any]]
    """Arguments of the model's `see`, by name."""
    text: str
    """Text that stands for it in a prompt, in the place of one placeholder. Among its tokens, `num_tokens` are the sight's
    `token_id` (of a video `video_token_id`)."""
    num_tokens: int
    is_whole: bool = False
    """True: its tokens attend to each other in both directions."""
    step_s: float = 0.0
    """Seconds between neighbouring patches of a video, where the model turns by them."""
    adapts: bool = False
    """True: with it, the model computes a prompt by adapted weights."""
    num_crossed: int = 0
    """Rows of keys and values in layers of cross attention; see `Picture`."""


class Sight:
    """The way in which one model sees, by its folder's files. A family's class sets the placeholders and writes `see`."""

    token_id: int
    """Id of the token whose places take the vectors of pictures; `PLACE` where there is a `written_id`."""
    written_id: int | None = None
    """Id that the model gets in these places, where it is that of a word too; None is `token_id`."""
    video_token_id: int = -1
    """That of videos; -1 for a model that sees none."""
    placeholder: str
    """Text that stands for one picture in a prompt as users and chat templates write it."""
    video_placeholder: str = ""
    has_tokens: bool = True
    """False where ids stand for pictures that are not the tokens of their texts: `encode` writes them."""
    usual_frames: int = 8
    """Frames of a video whose caller wishes nothing, where the folder's files have no number either."""

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        """Reads `preprocessor_config.json` and its neighbours. `config` is config.json. Raises ModelCorrupt, NotSupported."""
        self.folder, self.config, self.words = folder, config, words
        self.processor = self.open_processor()
        self.token_id = self._id("image_token_index", "image_token_id")
        self.placeholder = words.decode((self.token_id,), skip_special_tokens=False).strip()

    def written(self, text: str) -> str:
        """Returns the text of a prompt as the model's processor writes it. Here: as it is."""
        return text

    def open_processor(self) -> Processor:
        """Returns the processor of the folder. Raises ModelCorrupt for a folder without the files of one."""
        return Processor(self.folder)

    def encode(self, prompt: str, encode: Callable[[str], tuple[int, ...]]) -> tuple[int, ...]:
        """Returns the ids of a prompt, or a part of one, in which the texts of pictures stand in the place of placeholders.
        Here: those of `encode`, in which the tokenizer has a token for each vector."""
        return encode(prompt)

    def marked(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the ids of a whole prompt with `token_id` in the places of pictures, where a caller or the tokenizer wrote
        `written_id`. Here: as they are."""
        return ids

    def numbered(self, text: str, index: int) -> str:
        """Returns the text of the picture that has this index, from 0 on, among those of a prompt. Here: as it is."""
        return text

    def see(self, picture: Image) -> Seen:
        """Returns a picture (in RGB) as the model takes it."""
        raise NotImplementedError

    def see_one_of(self, picture: Image, count: int) -> Seen:
        """Returns a picture of a prompt that has so many. Here: as if it were alone."""
        return self.see(picture)

    def choose_frames(self, length: Length, wish: Wish) -> list[int]:
        """Returns the numbers of the frames that are taken of a video. Here: as wished, else as many as the folder's files say,
        or `usual_frames`, evenly spaced."""
        rate = wish.fps if wish.fps is not None else self.video_value("fps")
        count = wish.num_frames if wish.num_frames is not None else self.video_value("num_frames")
        if wish.num_frames is None and rate is not None:
            count = round(length.num_frames / length.fps * rate)
        count = int(count or self.usual_frames)
        return evenly(length.num_frames, min(max(count, 1), length.num_frames))

    def see_video(self, frames: Frames) -> Seen:
        """Returns a video as the model takes it. A family that has a `video_placeholder` overrides it."""
        raise NotImplementedError

    def check_sees_videos(self) -> None:
        """Raises NotSupported for a model that takes pictures alone."""
        if not self.video_placeholder:
            raise NotSupported("this model sees pictures and no videos", hint="send the frames as pictures")

    def video_value(self, *names: str) -> Any:
        """Returns the first of these keys of the processor of videos that the folder has; None where none has a value."""
        return next((self._video_values[name] for name in names if self._video_values.get(name) is not None), None)

    @cached_property
    def _video_values(self) -> dict[str, Any]:
        for name, key in (("video_preprocessor_config.json", ""), ("processor_config.json", "video_processor")):
            values = read_json(self.folder / name)
            if found := values.get(key) or {} if key else values:
                return dict(found)
        return {}

    def axes(self, ids: tuple[int, ...], pictures: Sequence[PromptPicture]) -> Axes | None:
        """Returns the rotary positions of a prompt on three axes; None where they are those of its tokens."""
        return None

    def _id(self, *names: str) -> int:
        """Returns the first of these keys of config.json that has an id. Raises ModelCorrupt where none has."""
        found = next((self.config[name] for name in names if isinstance(self.config.get(name), int)), None)
        if found is None:
            raise ModelCorrupt(f"config.json has no {names[0]!r}, the token of pictures", hint="is this a model that sees?")
        return int(found)
