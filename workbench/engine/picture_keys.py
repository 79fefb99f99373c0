"""The radix tree's tokens of pictures: a number for each picture, so that two of them share no K/V."""

from __future__ import annotations

from collections import OrderedDict

from workbench.text.pictured import ADAPTED
from workbench.types import Request

MAX_KNOWN = 10_000


class PictureKeys:
    """Numbers pictures by their digests: -1, -2, and so on. No number is used twice; of a picture that was forgotten, because
    many others came since, K/V is computed again."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._last = 0

    def tokens(self, request: Request) -> tuple[int, ...]:
        """Returns the prompt as the tree has it: the ids of its tokens, and in the places of a picture its number."""
        if not request.pictures:
            return request.input_ids
        tokens = list(request.input_ids)
        for picture in request.pictures:
            number = self._number(picture.digest)
            for first, count in picture.places:
                tokens[first : first + count] = [number] * count
        if any(picture.adapts for picture in request.pictures):
            tokens[0] += ADAPTED
        return tuple(tokens)

    def _number(self, digest: str) -> int:
        if digest in self._numbers:
            self._numbers.move_to_end(digest)
            return self._numbers[digest]
        self._last -= 1
        self._numbers[digest] = self._last
        if len(self._numbers) > MAX_KNOWN:
            self._numbers.popitem(last=False)
        return self._last
