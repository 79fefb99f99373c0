"""Pictures of prompts as views show them: a small form of each, with words."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.events import PictureNumbered
from workbench.html.escape import to_html
from workbench.html.parts import plural
from workbench.types import Picture

MAX_KNOWN = 1000
"""Pictures that a view keeps, the last to come."""


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """A picture or video of a prompt."""

    number: int
    """Its number in the engine; 0 for one that the engine has not seen yet."""
    kind: str
    num_tokens: int
    width: int
    """Pixels of its side, of a video those of a frame."""
    height: int
    thumbnail: str
    """Small form as a `data:` URL; may be empty."""

    @classmethod
    def of(cls, one: PictureNumbered | Picture, number: int = 0) -> SeenPicture:
        """Returns what views show of a picture of the log, or of a request's with its number."""
        number = one.number if isinstance(one, PictureNumbered) else number
        return cls(number, one.kind, one.num_tokens, one.width, one.height, one.thumbnail)

    @property
    def name(self) -> str:
        """Name by its kind and number, as in "picture 3"."""
        kind = "picture" if self.kind == "image" else "video"
        return f"{kind} {self.number}" if self.number else kind

    @property
    def words(self) -> str:
        size = f", {self.width:,} x {self.height:,} pixels" if self.width else ""
        return f"{self.name}: {plural(self.num_tokens, 'token')}{size}"

    @property
    def safe_thumbnail(self) -> str:
        """Thumbnail if a page may draw it: a picture in the page itself, and no address."""
        return self.thumbnail if self.thumbnail.startswith("data:image/") else ""

    def to_html(self) -> str:
        """Returns the picture as a block within text."""
        drawn = f'<img src="{to_html(self.safe_thumbnail)}" alt="">' if self.safe_thumbnail else ""
        return f'<span class="wb-picture">{drawn}{to_html(self.words)}</span>'

    def to_state(self) -> dict[str, Any]:
        """Returns what a page draws."""
        return {"words": self.words, "thumbnail": self.safe_thumbnail}


class SeenPictures:
    """The pictures that a log names, by their numbers."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, SeenPicture] = OrderedDict()

    def add(self, event: PictureNumbered) -> None:
        """Adds a picture; above `MAX_KNOWN` the oldest goes."""
        self._known[event.number] = SeenPicture.of(event)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def of(self, numbers: Iterable[int]) -> tuple[SeenPicture, ...]:
        """Returns the pictures with these numbers, each once and in this order; unknown ones are left out."""
        return tuple(self._known[number] for number in dict.fromkeys(numbers) if number in self._known)

    def in_tokens(self, token_ids: Sequence[int]) -> tuple[SeenPicture, ...]:
        """Returns the pictures among tokens as the tree has them."""
        return self.of(-token for token in token_ids if token < 0) if token_ids and min(token_ids) < 0 else ()


def pictures_html(pictures: Sequence[SeenPicture], before: str = "") -> str:
    """Returns a line of pictures behind some words; "" for none."""
    blocks = " ".join(picture.to_html() for picture in pictures)
    return f"<p>{to_html(before)}{blocks}</p>" if pictures else ""
