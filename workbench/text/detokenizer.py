"""Decodes token ids one at a time, into exactly the text that decoding them all at once gives.

The text of an output is `decode(prompt + output)` without the longest prefix that it shares with `decode(prompt)`. So a word
keeps its leading space, and a character that the prompt began and the output completed belongs to the output.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tokenizers.decoders import DecodeStream

from workbench.text.stop import StopFinder
from workbench.text.tokenizer import Tokenizer
from workbench.types import SamplingParams

BROKEN = "\ufffd"
NUM_CONTEXT = 8
"""Number of prompt tokens decoded for context. A character has at most 4 bytes, so decoding is aligned before their end."""
MAX_HELD = 64
"""Number of tokens without final text after which the stream restarts, since its cost grows with that number."""


class TextStream:
    """Decodes the tokens of one request up to the first stop string. End and stop tokens are not pushed.

    `spaces_between_special_tokens` has no effect: fast tokenizers write no spaces there.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int], params: SamplingParams) -> None:
        self._text = Detokenizer(tokenizer, prompt_ids, skip_special_tokens=params.skip_special_tokens)
        self._stop = StopFinder(params.stop) if params.stop else None

    @property
    def matched(self) -> str | None:
        """The stop string that was found, None before. `finish` can find one too."""
        return self._stop.matched if self._stop else None

    def push(self, token_id: int) -> tuple[str, str | None]:
        """Returns the text that became final, and the stop string that ends the output or None. Push nothing after a match."""
        text = self._text.push(token_id)
        if self._stop is None or not text:
            return text, None
        return self._stop.push(text), self._stop.matched

    def finish(self) -> str:
        """Returns the text held back: half characters as U+FFFD, the beginning of a stop string. Empty after a match."""
        if self._stop is None:
            return self._text.finish()
        if self._stop.matched is not None:
            return ""
        text = self._stop.push(self._text.finish())
        return text if self._stop.matched is not None else text + self._stop.finish()


class Detokenizer:
    """Decodes tokens incrementally: `"".join(push(i) for i in output) + finish()` is the text of `output` after `prompt_ids`.

    It holds back half characters, and in vocabularies with byte tokens a whole run of them, since one invalid byte turns
    all of its run into U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int], *, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend
        self._skip_special = skip_special_tokens
        self._skipped = tokenizer.special_ids if skip_special_tokens else frozenset()
        self._byte_ids = tokenizer.byte_ids
        self._last: list[int] = []
        """The tokens of the last piece returned (at first, of the prompt), after which the next are decoded."""
        self._held: list[int] = []
        """The tokens after them, whose text is not final yet."""
        self._pending: list[int] = []
        """The held tokens that were not pushed to the stream yet."""
        self._lead = ""
        """The text of the prompt that the stream's next piece repeats."""
        self._begin(self._context(prompt_ids))

    def push(self, token_id: int) -> str:
        """Returns the text that this token makes final."""
        if not self._has_text(token_id):
            return ""
        if self._pending:  # a run of bytes is open, or the prompt ended in half a character
            self._pending.append(token_id)
        self._held.append(token_id)
        if token_id in self._byte_ids:
            self._pending = self._pending or [token_id]
            return ""
        piece = self._stream.step(self._backend, self._pending or token_id)
        self._pending = []
        if piece is None:
            return self._restart() if len(self._held) > MAX_HELD else ""
        self._last, self._held = self._held, []
        return self._without_lead(piece) if self._lead else piece

    def finish(self) -> str:
        """Returns the rest, with U+FFFD for incomplete characters."""
        return self._without_lead(self._rest())

    def _has_text(self, token_id: int) -> bool:
        """Returns False for tokens that decoding drops; a run of bytes continues behind them."""
        return token_id not in self._skipped and self._backend.id_to_token(token_id) is not None

    def _context(self, ids: Sequence[int]) -> list[int]:
        """Returns the last ids with text, enough of them to decode the output as after the whole prompt."""
        num = NUM_CONTEXT
        while True:
            tail = [i for i in ids[-num:] if self._has_text(i)]
            if num >= len(ids) or (self._decode(tail) and tail[0] not in self._byte_ids):
                return tail
            num *= 2

    def _begin(self, ids: list[int]) -> None:
        """Starts a stream after `ids`; tokens at their end without final text are held."""
        cut = len(ids)
        while cut and (ids[cut - 1] in self._byte_ids or self._decode(ids[:cut]).endswith(BROKEN)):
            cut -= 1
        self._last, self._held = ids[:cut], ids[cut:]
        self._pending = list(self._held)
        self._stream = DecodeStream(ids=self._last, skip_special_tokens=self._skip_special)
        self._lead = ""
        self._lead = self._rest()

    def _restart(self) -> str:
        """Restarts the stream and returns the final part of a long text that ends in U+FFFD: only its end may change."""
        rest = self._without_lead(self._rest())
        self._begin(self._context(self._last + self._held))
        self._lead = self._lead.removesuffix(BROKEN)
        return rest.removesuffix(BROKEN)

    def _rest(self) -> str:
        return self._decode(self._last + self._held)[len(self._decode(self._last)) :]

    def _without_lead(self, piece: str) -> str:
        """Returns `piece` without the part that was the prompt's text already."""
        shared = len(os.path.commonprefix([self._lead, piece]))
        self._lead = ""
        return piece[shared:]

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, self._skip_special)
