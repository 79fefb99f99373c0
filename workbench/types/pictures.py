"""Parts of a prompt in the place of tokens: embeddings, pictures and videos."""

from __future__ import annotations

from typing import Literal

import msgspec


class InputEmbeds(msgspec.Struct, frozen=True):
    """A prompt as embeddings, in the place of tokens."""

    data: bytes
    """float32 [num_tokens, width] in the machine's byte order."""
    width: int

    @property
    def num_tokens(self) -> int:
        """The number of places in the prompt."""
        return len(self.data) // (4 * self.width)


class Array(msgspec.Struct, frozen=True):
    """Numbers as a message has them."""

    data: bytes
    """The numbers in the machine's byte order, the last axis fastest."""
    dtype: str
    """Name of their type as numpy has it."""
    shape: tuple[int, ...]


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture or video of a prompt, processed as the model takes it, and its places among the tokens."""

    digest: str
    """Hash of the arrays and of all that the model makes of them: equal for equal pictures only."""
    arrays: dict[str, Array]
    """Arguments of the model's `see`, by name."""
    num_tokens: int
    """Number of vectors that the model makes of it, each in the place of one token."""
    places: tuple[tuple[int, int], ...] = ()
    """Runs of its tokens in the prompt, (first, count) in order; the counts add up to `num_tokens`."""
    is_whole: bool = False
    """True: its tokens attend to each other in both directions, so no chunk may end within one of its runs."""
    adapts: bool = False
    """True: all tokens of its prompt are computed by adapted weights, and share no K/V with a prompt without such a picture."""
    num_crossed: int = 0
    """Number of rows of keys and values that layers of cross attention have of it. Above 0 its one token is a word of the text,
    and the text behind it looks at the picture in these layers; 0: the model makes vectors in the places of its tokens."""
    kind: Literal["image", "video"] = "image"
    width: int = 0
    """Pixels, before processing."""
    height: int = 0
    step_s: float = 0.0
    """Seconds between neighbouring patches of a video, where its model turns by them."""
    thumbnail: str = ""
    """Small form as a `data:` URL, for views; may be empty."""

    @property
    def is_crossed(self) -> bool:
        """True if the text behind it looks at it by cross attention."""
        return self.num_crossed > 0

    def rows(self, start: int, end: int) -> tuple[list[int], list[int]]:
        """Returns (places in the prompt, numbers of the vectors) of its tokens at positions [start, end)."""
        places: list[int] = []
        numbers: list[int] = []
        done = 0
        for first, count in self.places:
            low, high = max(first, start), min(first + count, end)
            places += range(low, high)
            numbers += range(done + low - first, done + high - first)
            done += count
        return places, numbers

    def num_in(self, start: int, end: int) -> int:
        """Returns the number of its tokens at positions [start, end)."""
        return sum(max(0, min(first + count, end) - max(first, start)) for first, count in self.places)

    def moved(self, by: int) -> Picture:
        """Returns the picture with all places so many tokens later."""
        return msgspec.structs.replace(self, places=tuple((first + by, count) for first, count in self.places))

    @property
    def end(self) -> int:
        """The position behind its last token."""
        return sum(self.places[-1]) if self.places else 0

    @property
    def start(self) -> int:
        """The position of its first token."""
        return self.places[0][0] if self.places else 0


class Axes(msgspec.Struct, frozen=True):
    """Rotary positions on three axes (time, height, width), of a prompt with pictures whose model turns by them."""

    data: bytes
    """int32 [3, num_prompt] in the machine's byte order."""
    next: int
    """Position, on all axes, of the first token behind the prompt; later ones count up from it."""


class SeenPrompt(msgspec.Struct, frozen=True):
    """A prompt as requests have it: token ids, its pictures, and rotary positions where they are not those of the tokens."""

    ids: tuple[int, ...]
    pictures: tuple[Picture, ...] = ()
    axes: Axes | None = None
