"""Outputs of requests: tokens, their log-probabilities and hidden states, and the reason of the end."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

import msgspec


class TokenLogprob(msgspec.Struct, frozen=True):
    """Log-probabilities at one position, from the model's own distribution (before penalties, temperature and masks)."""

    token_id: int
    logprob: float | None
    """Log-probability of the token. None for the first token of a prompt, which has none."""
    top: tuple[tuple[float, int], ...] = ()
    """The `top_logprobs_num` likeliest tokens as (logprob, token id), the likeliest first."""
    chosen: tuple[tuple[float, int], ...] = ()
    """The tokens of `token_ids_logprob` as (logprob, token id), in its order."""


class HiddenRows(msgspec.Struct, frozen=True):
    """The model's last hidden states (after the final norm) of neighbouring tokens."""

    data: bytes
    """float32 [num_tokens, width] in the machine's byte order."""
    width: int


class FinishInfo(TypedDict):
    """The `finish_reason` of a result."""

    type: Literal["stop", "length", "abort"]
    matched: NotRequired[int | str | None]
    """With "stop": the stop string or token id that ended the text."""
    length: NotRequired[int | None]
    """With "length": the number of output tokens."""
    message: NotRequired[str | None]
    """With "abort": the reason. With "length": the position in the constraint where the text stopped."""
    constraint: NotRequired[str | None]
    """With "length": "incomplete" if the text does not satisfy its constraint."""


class FinishReason(msgspec.Struct, frozen=True):
    """The reason why a request ended."""

    type: Literal["stop", "length", "abort"]
    matched: int | str | None = None
    length: int | None = None
    message: str | None = None
    constraint: Literal["incomplete"] | None = None
    """The text does not satisfy its constraint; with "length" `message` then names the place where it stopped."""
    expected: str | None = None
    """The continuation that the constraint would have taken next, if it is known."""

    def to_dict(self) -> FinishInfo:
        """Returns `meta_info["finish_reason"]`."""
        if self.type == "stop":
            return {"type": "stop", "matched": self.matched}
        if self.type == "abort":
            return {"type": "abort", "message": self.message}
        if self.constraint is None:
            return {"type": "length", "length": self.length}
        return {"type": "length", "length": self.length, "constraint": self.constraint, "message": self.message}


class TokenOut(msgspec.Struct, frozen=True, kw_only=True):
    """The output of one step for one request."""

    rid: str
    token_ids: tuple[int, ...] = ()
    text: str = ""
    """Text that cannot change any more: no half character, no possible start of a stop string."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Log-probabilities, one per entry of `token_ids`. Empty without `return_logprob`."""
    forced: tuple[bool, ...] = ()
    """Flags, one per entry of `token_ids`: True if the grammar forced the text. Empty if none was forced."""
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    """Prompt positions scored in this step, in order."""
    hidden: tuple[HiddenRows, ...] = ()
    """Hidden states of the tokens computed since the last output, in order, when asked for."""
    num_cached: int = 0
    """Prompt tokens whose K/V was reused when the request was first admitted."""
    finish: FinishReason | None = None
    unenforced: tuple[str, ...] = ()
    """Parts of the constraint that no mask enforced; only with the last output."""
