"""`Eyes`: turns a prompt with pictures into token ids, processed pictures, and their places."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, Protocol

import msgspec

from workbench.errors import InvalidRequest, NotSupported
from workbench.pictures import image
from workbench.pictures.reader import FIELD, Reader
from workbench.pictures.sight import Seen, Sight
from workbench.pictures.video import Wish, read_frames
from workbench.types import Array, Picture, SeenPrompt

KEPT_BYTES = 128 << 20
"""Memory of the pictures that were processed last."""
Kind = Literal["image", "video"]


class Shown(Protocol):
    """One picture or video of a prompt as its caller gave it."""

    @property
    def kind(self) -> Kind: ...

    @property
    def source(self) -> Any:
        """Source of a picture; of a video also the list of its frames' sources."""

    @property
    def fps(self) -> float | None:
        """Frames to take of one second of a video; of a list of frames how many of them are one second."""

    @property
    def num_frames(self) -> int | None:
        """Number of frames to take of a video, evenly spaced."""


@dataclass(frozen=True)
class _Processed:
    """A picture without its places, and the text that stands for it."""

    picture: Picture
    text: str


Ends = tuple[int, ...]
"""Indices of the characters behind the tokens, one for each."""


@dataclass(frozen=True)
class Spelled:
    """A text with each placeholder replaced by the text of its picture."""

    text: str
    cuts: tuple[tuple[int, int, int], ...]
    """Placeholders in order: start and end in the text as it was, and the length of what stands in the place of each."""

    def place(self, index: int) -> int:
        """Returns the index of a character of the text as it was; of one of a placeholder the start of what replaced it."""
        moved = index
        for start, end, length in self.cuts:
            moved += length - (end - start) if end <= index else start - index if start < index else 0
        return moved


class Eyes:
    """Reads and processes the pictures of one model's prompts. Thread-safe: work that two threads do at once is done twice."""

    def __init__(self, sight: Sight, reader: Reader) -> None:
        self.sight = sight
        self._reader = reader
        self.marks: dict[str, str] = {"image": sight.placeholder, "video": sight.video_placeholder}
        """Placeholders in prompts, by the kind of picture."""
        self._kept: OrderedDict[str, _Processed] = OrderedDict()

    def prompt(
        self, prompt: str | tuple[int, ...], shown: Sequence[Shown], encode: Callable[[str], tuple[int, ...]], *, is_local: bool
    ) -> SeenPrompt:
        """Returns the prompt with each placeholder replaced by its picture's tokens. `encode` turns its text into ids.

        Ids may hold placeholders, or all tokens of their pictures already. Raises InvalidRequest for pictures that cannot be
        read and for another number of placeholders than of pictures, none included; NotSupported for places that are not
        allowed.
        """
        found = self._all_processed(shown, is_local)
        if isinstance(prompt, str):
            # In the type of the prompt: a text that a template made has its special tokens written out.
            text = self._spelled(type(prompt)(self.sight.written(prompt)), found).text
            ids = self.sight.encode(text, encode) if found else encode(text)
        else:
            ids = self._spread(prompt, found)
        pictures = self._placed(ids, [one.picture for one in found])
        ids = self._settled(ids)
        return SeenPrompt(ids, pictures, self.sight.axes(ids, pictures))

    def check_plain(self, prompt: str | tuple[int, ...], ids: tuple[int, ...]) -> None:
        """Raises InvalidRequest for a prompt without pictures, and its ids, that has a placeholder or a token of pictures."""
        _ = self._spelled(self.sight.written(prompt), ()) if isinstance(prompt, str) else self._spread(prompt, ())
        self._placed(ids, ())

    def places(
        self, prompt: str, shown: Sequence[Shown], encode: Callable[[str], tuple[tuple[int, ...], Ends]], *, is_local: bool
    ) -> tuple[Spelled, SeenPrompt, Ends]:
        """Returns a text with its pictures, for views: spelled, as a prompt, and the ends of its tokens as `encode` gives them.

        Raises what `prompt` raises, and NotSupported for a model whose tokenizer has no token of pictures.
        """
        if shown and not self.sight.has_tokens:
            raise NotSupported(
                "the tokenizer of this model has no token of pictures, so the view cannot place them",
                hint="leave the pictures out to see the text around them",
            )
        found = self._all_processed(shown, is_local)
        spelled = self._spelled(prompt, found)
        ids, ends = encode(spelled.text)
        ids = self.sight.marked(ids) if found else ids
        return spelled, SeenPrompt(self._settled(ids), self._placed(ids, [one.picture for one in found])), ends

    def joined(self, before: SeenPrompt, after: SeenPrompt) -> SeenPrompt:
        """Returns one prompt behind another. Tokens between the pictures of `before` may be those of an answer."""
        moved = (one.moved(len(before.ids)) for one in after.pictures)
        ids, pictures = before.ids + after.ids, (*before.pictures, *moved)
        return SeenPrompt(ids, pictures, self.sight.axes(ids, pictures))

    # -- pictures -----------------------------------------------------------------------------------------------

    def _all_processed(self, shown: Sequence[Shown], is_local: bool) -> list[_Processed]:
        count = sum(one.kind == "image" for one in shown)
        return [self._processed(one, is_local, count) for one in shown]

    def _processed(self, shown: Shown, is_local: bool, count: int) -> _Processed:
        sources = shown.source if isinstance(shown.source, (list, tuple)) else [shown.source]
        if shown.kind == "video":
            self.sight.check_sees_videos()
        elif len(sources) != 1:
            raise InvalidRequest(FIELD, f"a list of {len(sources)} where one picture stands", "one source for each picture")
        data = [self._reader.read(source, is_local=is_local) for source in sources]
        if not data:
            raise InvalidRequest.because(FIELD, "a video has no frames", hint="give a list of pictures, or an animated one")
        hashes = "".join(hashlib.sha256(one).hexdigest() for one in data)
        name = f"{shown.kind} {shown.fps} {shown.num_frames} {count == 1} {hashes}"
        if (known := self._kept.get(name)) is not None:
            return known
        made = self._made(shown, data, count)
        self._keep(name, made)
        return made

    def _made(self, shown: Shown, data: Sequence[bytes], count: int) -> _Processed:
        kind = shown.kind
        if kind == "image":
            first = image.decode(data[0])
            seen = self._seen(lambda: self.sight.see_one_of(first, count), first.size)
        else:
            frames = read_frames(data, Wish(shown.fps, shown.num_frames), self.sight.choose_frames, FIELD)
            first = frames.pictures[0]
            seen = self._seen(lambda: self.sight.see_video(frames), first.size)
        arrays = {name: Array(value.tobytes(), str(value.dtype), value.shape) for name, value in seen.arrays.items()}
        picture = Picture(
            digest=_digest(f"{kind}{seen.step_s or ''}", arrays), step_s=seen.step_s, arrays=arrays,
            num_tokens=seen.num_tokens, is_whole=seen.is_whole, adapts=seen.adapts, num_crossed=seen.num_crossed, kind=kind,
            width=first.width, height=first.height, thumbnail=image.thumbnail(first),
        )  # fmt: skip
        return _Processed(picture, seen.text)

    def _seen(self, see: Callable[[], Seen], size: tuple[int, int]) -> Seen:
        try:
            return see()
        except ValueError as error:
            if isinstance(error, InvalidRequest):
                raise
            width, height = size
            message = f"a picture of {width:,} x {height:,} pixels cannot be processed: {error}"
            raise InvalidRequest.because(FIELD, message, hint="send one of another shape") from error

    def _keep(self, name: str, made: _Processed) -> None:
        self._kept[name] = made
        size = sum(_num_bytes(one.picture.arrays) for one in [*self._kept.values()])
        while size > KEPT_BYTES and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            size -= _num_bytes(gone.picture.arrays)

    # -- prompts ------------------------------------------------------------------------------------------------

    def _spelled(self, text: str, found: Sequence[_Processed]) -> Spelled:
        """Returns the text with each placeholder replaced by the text of its picture."""
        kinds = {self.sight.placeholder: "image", self.sight.video_placeholder: "video"}
        kinds.pop("", None)
        parts = re.split("(" + "|".join(map(re.escape, sorted(kinds, key=len, reverse=True))) + ")", text)
        self._check_counts([kinds[part] for part in parts[1::2]], found)
        queues = self._texts(found)
        written = [next(queues[kinds[part]]) if i % 2 else part for i, part in enumerate(parts)]
        starts = [*accumulate(map(len, parts), initial=0)]
        cuts = tuple((starts[i], starts[i + 1], len(written[i])) for i in range(1, len(parts), 2))
        return Spelled(type(text)("".join(written)), cuts)  # a text that a template wrote stays one

    def _spread(self, ids: tuple[int, ...], found: Sequence[_Processed]) -> tuple[int, ...]:
        """Returns the ids with each placeholder replaced by the ids of its picture; those that have all of them as they are."""
        marks = {self._mark(self.sight.placeholder): "image", self._mark(self.sight.video_placeholder): "video"}
        marks.pop((), None)
        wanted = sum(one.picture.num_tokens for one in found)
        own = {self.sight.token_id, self.sight.video_token_id}
        place, word = self.sight.token_id, self.sight.written_id
        for marked in (self.sight.marked(ids), tuple(place if token == word else token for token in ids)):
            if sum(token in own for token in marked) == wanted != len(found):
                return marked
        at = [(i, mark) for i in range(len(ids)) for mark in marks if ids[i : i + len(mark)] == mark]
        self._check_counts([marks[mark] for _, mark in at], found)
        queues = self._texts(found)
        spread: list[int] = []
        done = 0
        for i, mark in at:
            spread += ids[done:i]
            spread += self.sight.encode(next(queues[marks[mark]]), self._exactly)
            done = i + len(mark)
        return (*spread, *ids[done:])

    def _texts(self, found: Sequence[_Processed]) -> dict[str, Iterator[str]]:
        """Returns the texts of pictures and those of videos, in order."""
        kinds = {kind: [one.text for one in found if one.picture.kind == kind] for kind in ("image", "video")}
        return {kind: iter([self.sight.numbered(text, i) for i, text in enumerate(texts)]) for kind, texts in kinds.items()}

    def _exactly(self, text: str) -> tuple[int, ...]:
        """Returns the ids of a text without special tokens around it."""
        return self.sight.words.encode(text, add_special_tokens=False)

    def _mark(self, placeholder: str) -> tuple[int, ...]:
        return self._exactly(placeholder) if placeholder else ()

    def _check_counts(self, kinds: Sequence[str], found: Sequence[_Processed]) -> None:
        """Raises InvalidRequest unless there are as many placeholders of each kind as pictures."""
        for kind, mark in (("image", self.sight.placeholder), ("video", self.sight.video_placeholder)):
            marks, given = kinds.count(kind), sum(one.picture.kind == kind for one in found)
            if marks != given:
                words = "picture" if kind == "image" else "video"
                message = f"the prompt has {marks} {mark or 'placeholders'} for {given} {words}{'s' * (given != 1)}"
                hint = f"write {mark} in the prompt where each {words} stands"
                if not given:
                    hint = f"give the {words} in image_data, or leave {mark} out: it stands for one"
                raise InvalidRequest.because(FIELD, message, hint=hint)

    def _settled(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the ids as the model gets them."""
        written, place = self.sight.written_id, self.sight.token_id
        return ids if written is None else tuple(written if token == place else token for token in ids)

    def _placed(self, ids: tuple[int, ...], pictures: Sequence[Picture]) -> tuple[Picture, ...]:
        """Returns the pictures with the places of their tokens among `ids`."""
        places = {
            "image": [i for i, token in enumerate(ids) if token == self.sight.token_id],
            "video": [i for i, token in enumerate(ids) if token == self.sight.video_token_id],
        }
        placed = []
        for picture in pictures:
            rest = places[picture.kind]
            own, places[picture.kind] = rest[: picture.num_tokens], rest[picture.num_tokens :]
            if len(own) < picture.num_tokens:
                message = f"the prompt has {len(own)} tokens for a picture of {picture.num_tokens}"
                raise InvalidRequest.because(FIELD, message, hint="send one placeholder for each picture, in text or ids")
            placed.append(msgspec.structs.replace(picture, places=_runs(own)))
        if left := sum(map(len, places.values())):
            message = f"the prompt has {left} tokens of pictures more than its pictures have"
            raise InvalidRequest.because(FIELD, message, hint="send one placeholder for each picture, in text or ids")
        return tuple(placed)


def _runs(places: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Returns (first, count) of neighbouring places."""
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and place == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((place, 1))
    return tuple(runs)


def _digest(kind: str, arrays: Mapping[str, Array]) -> str:
    found = hashlib.blake2b(kind.encode(), digest_size=32)
    for name, array in sorted(arrays.items()):
        found.update(f"/{name}:{array.dtype}:{array.shape}/".encode())
        found.update(array.data)
    return found.hexdigest()


def _num_bytes(arrays: Mapping[str, Array]) -> int:
    return sum(len(array.data) for array in arrays.values())
