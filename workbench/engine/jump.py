"""Jump-forward: where a grammar leaves one continuation, its text becomes tokens without a decode step each.

The rules, in order:
1. Text that was sent is never changed. What may be written anew is the token just drawn, which nobody has seen and
   which has no K/V yet: `"` followed by a forced `, "` becomes `",` and ` "`, as the tokenizer writes it.
2. Drawn token and forced text are encoded behind the tokens before them; the result must spell the same bytes.
3. The end stays open: where a token that the grammar allows reaches over the end of the forced text, the forced tokens
   stop before it begins, and the model chooses. So no boundary is made that the tokenizer would not have made.
4. Half characters, and ids that would stop the request, are never forced by text. Where nothing may follow but one such id, the
   request ends with it and no step is made to draw it.
Whenever a rule leaves nothing, the model decodes under its mask as ever.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from workbench.grammar import Vocabulary
from workbench.grammar.mask import allowed_flags
from workbench.text.tokenizer import Tokenizer

NUM_CONTEXT = 8
CONTEXTS = (NUM_CONTEXT, 1, 0)
"""Tokens before the drawn one to encode behind: as many as reproduce themselves."""


@dataclass(frozen=True, slots=True)
class Jump:
    """Tokens in place of the drawn one; the first `num_own` of them begin with text that the model chose."""

    token_ids: tuple[int, ...]
    num_own: int


class JumpForward:
    """For one tokenizer and its vocabulary; keeps nothing of a request."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._vocab_size = vocabulary.size

    def jump(self, matcher: Any, before: Sequence[int], drawn: int | None, stop_ids: Collection[int], room: int) -> Jump | None:
        """Changes: `matcher`, which stands behind `drawn`, moves past the forced text. `before` are all earlier tokens,
        `room` is how many tokens may stand in the place of `drawn`. None, and no change, where nothing is forced."""
        forced = whole_characters(matcher.forced())
        own = b"" if drawn is None else self._pieces[drawn]
        if not forced or (drawn is not None and not own):
            return None
        ids = self._encode(before, own + forced)
        ends = list(accumulate(len(self._pieces[i]) for i in ids))
        open_from = len(own) + self._open_from(matcher, forced)
        num = bisect_right(ends, open_from)
        num = min([num, room, *(i for i, token in enumerate(ids) if token in stop_ids)])
        if num < 1 or ends[num - 1] <= len(own):
            return None
        matcher.accept_bytes(forced[: ends[num - 1] - len(own)])
        num_own = sum(end - len(self._pieces[token]) < len(own) for token, end in zip(ids[:num], ends, strict=False))
        return Jump(ids[:num], num_own)

    def end(self, matcher: Any) -> int | None:
        """The one token that may come next where the text is complete; None where there are others. Reads only."""
        if not matcher.is_complete or matcher.num_allowed != 1:
            return None
        return int(np.flatnonzero(allowed_flags(matcher, self._vocab_size))[0])

    def text(self, token_ids: Sequence[int]) -> str:
        """For messages."""
        return self._tokenizer.decode(token_ids)

    def data(self, token_ids: Sequence[int]) -> bytes:
        """The text of tokens as a matcher takes it."""
        return b"".join(self._pieces[i] for i in token_ids)

    def prepare(self) -> None:
        """Makes the tables, which takes a moment with a large vocabulary. From any thread."""
        self._sorted  # noqa: B018

    @property
    def _pieces(self) -> Sequence[bytes]:
        return self._vocabulary.pieces

    @cached_property
    def _sorted(self) -> tuple[list[bytes], list[int]]:
        """All pieces in order, with their ids."""
        pairs = sorted((piece, i) for i, piece in enumerate(self._pieces) if piece)
        return [piece for piece, _ in pairs], [i for _, i in pairs]

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._pieces), default=0)

    def _encode(self, before: Sequence[int], data: bytes) -> tuple[int, ...]:
        """Ids that spell `data`, as the tokenizer writes it behind `before`; empty where it does not."""
        try:
            text = data.decode()
        except UnicodeDecodeError:  # the drawn token ends a character that an earlier one began
            return ()
        for num in CONTEXTS:
            context = tuple(before[-num:]) if num else ()
            ids = self._tokenizer.encode(self._tokenizer.decode(context, False) + text, add_special_tokens=False)
            rest = ids[len(context) :]
            if max(rest, default=0) >= self._vocab_size:  # a token that this model's logits do not reach
                continue
            if ids[: len(context)] == context and b"".join(self._pieces[i] for i in rest) == data:
                return rest
        return ()

    def _open_from(self, matcher: Any, forced: bytes) -> int:
        """Where in `forced` the first token begins that may reach over its end; its length if there is none."""
        pieces, ids = self._sorted
        here, at = None, 0
        for start in range(max(0, len(forced) - self._longest + 1), len(forced)):
            rest = forced[start:]
            first, last = bisect_right(pieces, rest), bisect_left(pieces, rest + b"\xff" * (self._longest - len(rest) + 1))
            if first == last:
                continue
            here = here or matcher.fork()
            here.accept_bytes(forced[at:start])
            at = start
            mask = np.zeros(-(-self._vocab_size // 32), dtype=np.int32)
            here.fill_mask(mask)
            longer = np.array(ids[first:last])
            if (mask.view(np.uint32)[longer // 32] >> (longer % 32).astype(np.uint32) & 1).any():
                return start
        return len(forced)


def whole_characters(data: bytes) -> bytes:
    """`data` without a character that is cut at its end; nothing if it begins inside one."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return data[: error.start]
    return data
