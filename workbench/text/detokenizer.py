"""Token ids become text one at a time, and the text is exactly what decoding them all at once gives.

The text of an output is defined as `decode(prompt + output)` after the longest beginning it shares with
`decode(prompt)`. So a word keeps its leading space, and a character that the prompt began and the output completed
belongs to the output.
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
"""Prompt tokens looked at. A character has at most 4 bytes, so decoding is in step again long before the last of them."""
MAX_HELD = 64
"""Tokens without certain text after which the stream starts afresh, since its cost grows with their number."""


class TextStream:
    """The text of one request as its tokens come, up to the first stop string. End and stop tokens are not pushed.

    `spaces_between_special_tokens` changes nothing: fast tokenizers put no spaces there.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int], params: SamplingParams) -> None:
        self._text = Detokenizer(tokenizer, prompt_ids, skip_special_tokens=params.skip_special_tokens)
        self._stop = StopFinder(params.stop) if params.stop else None

    @property
    def matched(self) -> str | None:
        """The stop string that was found; `finish` can find one too."""
        return self._stop.matched if self._stop else None

    def push(self, token_id: int) -> tuple[str, str | None]:
        """(text that is now certain, the stop string that ends the output or None). Push nothing after a match."""
        text = self._text.push(token_id)
        if self._stop is None or not text:
            return text, None
        return self._stop.push(text), self._stop.matched

    def finish(self) -> str:
        """The text that was held back: half characters as U+FFFD, a stop string's beginning. Empty after a match."""
        if self._stop is None:
            return self._text.finish()
        if self._stop.matched is not None:
            return ""
        text = self._stop.push(self._text.finish())
        return text if self._stop.matched is not None else text + self._stop.finish()


class Detokenizer:
    """`"".join(push(i) for i in output) + finish()` is the text of `output` after `prompt_ids`.

    Held back until certain: half characters, and in vocabularies with byte tokens a whole run of them, since one bad
    byte turns all of its run into U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int], *, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend
        self._skip_special = skip_special_tokens
        self._skipped = tokenizer.special_ids if skip_special_tokens else frozenset()
        self._byte_ids = tokenizer.byte_ids
        self._last: list[int] = []
        """Tokens of the last piece given out (at first, of the prompt): what follows is decoded after them."""
        self._held: list[int] = []
        """Tokens after them, whose text is not certain yet."""
        self._pending: list[int] = []
        """Those of them that the stream has not seen."""
        self._lead = ""
        """Text of the prompt that the stream's next piece repeats."""
        self._begin(self._context(prompt_ids))

    def push(self, token_id: int) -> str:
        """Text that this token makes certain."""
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
        """The rest, with U+FFFD for what stayed incomplete."""
        return self._without_lead(self._rest())

    def _has_text(self, token_id: int) -> bool:
        """False for what decoding drops first of all, so that a run of bytes goes on behind it."""
        return token_id not in self._skipped and self._backend.id_to_token(token_id) is not None

    def _context(self, ids: Sequence[int]) -> list[int]:
        """The last ids that have a text: enough of them to decode what follows as after the whole prompt."""
        num = NUM_CONTEXT
        while True:
            tail = [i for i in ids[-num:] if self._has_text(i)]
            if num >= len(ids) or (self._decode(tail) and tail[0] not in self._byte_ids):
                return tail
            num *= 2

    def _begin(self, ids: list[int]) -> None:
        """Takes `ids` as what was decoded before; their end waits for the next token if it is not certain."""
        cut = len(ids)
        while cut and (ids[cut - 1] in self._byte_ids or self._decode(ids[:cut]).endswith(BROKEN)):
            cut -= 1
        self._last, self._held = ids[:cut], ids[cut:]
        self._pending = list(self._held)
        self._stream = DecodeStream(ids=self._last, skip_special_tokens=self._skip_special)
        self._lead = ""
        self._lead = self._rest()

    def _restart(self) -> str:
        """The certain part of a long text that ends in U+FFFD; only the end may change."""
        rest = self._without_lead(self._rest())
        self._begin(self._context(self._last + self._held))
        self._lead = self._lead.removesuffix(BROKEN)
        return rest.removesuffix(BROKEN)

    def _rest(self) -> str:
        return self._decode(self._last + self._held)[len(self._decode(self._last)) :]

    def _without_lead(self, piece: str) -> str:
        """`piece` less what was the prompt's text already."""
        shared = len(os.path.commonprefix([self._lead, piece]))
        self._lead = ""
        return piece[shared:]

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, self._skip_special)
