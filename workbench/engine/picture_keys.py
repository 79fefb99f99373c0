"""The radix tree's tokens of pictures: a number for each picture, so that two of them share no K/V."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from workbench.events import PictureNumbered
from workbench.text.pictured import ADAPTED
from workbench.types import Picture, Request

MAX_KNOWN = 10_000


class PictureKeys:
    """Numbers pictures by their digests: 1, 2, and so on. No number is used twice; of a picture that was forgotten, because
    many others came since, K/V is computed again."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, PictureNumbered] = OrderedDict()
        self._last = 0

    def meet(self, request: Request, time: float) -> list[PictureNumbered]:
        """Numbers the pictures of a request. Returns those that were not known."""
        return [made for picture in request.pictures if (made := self._met(picture, time)) is not None]

    def tokens(self, request: Request) -> tuple[int, ...]:
        """Returns a prompt whose pictures have numbers as the tree has it: the ids of its tokens, and in the places of a picture
        its number below 0."""
        if not request.pictures:
            return request.input_ids
        tokens = list(request.input_ids)
        for picture, number in zip(request.pictures, self.numbers(request), strict=True):
            for first, count in picture.places:
                tokens[first : first + count] = [-number] * count
        if any(picture.adapts for picture in request.pictures):
            tokens[0] += ADAPTED
        return tuple(tokens)

    def numbers(self, request: Request) -> tuple[int, ...]:
        """Returns the numbers of a request's pictures, in order; 0 for one that is forgotten."""
        known = (self._known.get(picture.digest) for picture in request.pictures)
        return tuple(one.number if one is not None else 0 for one in known)

    def of(self, numbers: Collection[int]) -> list[PictureNumbered]:
        """Returns the pictures with these numbers that are not forgotten, by number."""
        return sorted((one for one in self._known.values() if one.number in numbers), key=lambda one: one.number)

    def _met(self, picture: Picture, time: float) -> PictureNumbered | None:
        if picture.digest in self._known:
            self._known.move_to_end(picture.digest)
            return None
        self._last += 1
        made = self._known[picture.digest] = PictureNumbered(
            time=time, number=self._last, digest=picture.digest, kind=picture.kind, num_tokens=picture.num_tokens,
            width=picture.width, height=picture.height, thumbnail=picture.thumbnail,
        )  # fmt: skip
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return made
