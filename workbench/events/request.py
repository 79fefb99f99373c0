"""Events in the life of a request: arrival, compilation, waiting, tokens, finish."""

from __future__ import annotations

from typing import Literal

import msgspec

from workbench.events.base import Event
from workbench.types import GrammarSpec

NUM_SHOWN = 8
"""Number of tokens on either side of a divergence that `PrefixMatched` carries."""
NUM_FIRST = 16
"""Number of prompt tokens that `RequestArrived` carries."""

MatchReason = Literal[
    "whole prompt", "diverged", "nothing stored", "below page size", "evicted", "other namespace", "scored", "disabled"
]
"""Reasons why the cache reused no more of a prompt."""
WaitReason = Literal[
    "memory", "batch full", "token budget", "one prefill at a time", "shared prefix in progress", "compiling", "paused"
]
"""Reasons why a request stays in the queue."""


class RequestArrived(Event, frozen=True, kw_only=True, tag=True):
    """A request entered the queue."""

    rid: str
    num_prompt: int
    max_new_tokens: int
    namespace: str = ""
    priority: int = 0
    grammar: GrammarSpec | None = None
    """The constraint on its output."""
    first_ids: tuple[int, ...] = ()
    """The first tokens of its prompt; views label the request with them."""
    origin: str = ""
    """Client that sent it, in words; empty for a call from Python."""
    pictures: tuple[int, ...] = ()
    """The numbers of its prompt's pictures, in order."""


class PictureNumbered(Event, frozen=True, kw_only=True, tag=True):
    """A picture or video came that the engine does not know. Its tokens in the tree are its number below 0 (-3 for picture 3)."""

    number: int
    digest: str
    """The hash of the picture as the model takes it."""
    kind: Literal["image", "video"]
    num_tokens: int
    width: int
    """The pixels of its side before processing; of a video those of a frame."""
    height: int
    thumbnail: str
    """A small form as a `data:` URL; empty where none was made."""


class PrefixMatched(Event, frozen=True, kw_only=True, tag=True):
    """Admission looked the prompt up in the cache; `workbench.why.prefix.reasons` words the reason."""

    rid: str
    num_prompt: int
    num_cached: int
    reason: MatchReason
    node_id: int
    """The node where the match ended; 0 is the root."""
    expected: tuple[int, ...] = ()
    """For "diverged": the first tokens that the tree holds at that point in place of the prompt's."""
    asked: tuple[int, ...] = ()
    """For "diverged" and "evicted": the first tokens of the prompt from that point on."""
    evicted_ago: float | None = None
    """For "evicted": seconds since the missing part was evicted."""
    elsewhere: int = 0
    """For "other namespace": the number of tokens that match there."""
    namespace: str = ""


class GrammarCompiled(Event, frozen=True, kw_only=True, tag=True):
    """The constraint of a request is ready."""

    rid: str
    kind: str
    """The kind of constraint: "regex", "json_schema", ..."""
    backend: str
    where: Literal["thread", "child"]
    """The thread of the first caller, or a child process."""
    seconds: float
    num_bytes: int
    is_cached: bool
    """True if an earlier request compiled it; `seconds` is then that request's time."""


class RequestWaiting(Event, frozen=True, kw_only=True, tag=True):
    """A request waits for a reason.

    Recorded when the reason is new in this stay in the queue, and ever more rarely while reasons alternate. The
    `RequestWaited` that ends the stay has the time of each.
    """

    rid: str
    reason: WaitReason
    blocked_by: str = ""
    """The request it waits for, if there is one."""
    num_needed: int = 0
    num_available: int = 0


class Waited(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The time that one reason took in one stay in the queue."""

    reason: WaitReason
    seconds: float
    blocked_by: str
    """The request that blocked it for the longest time; empty if none did."""
    has_others: bool = False
    """True if other requests blocked it too, one after the other."""


class RequestWaited(Event, frozen=True, kw_only=True, tag=True):
    """A stay in the queue ended."""

    rid: str
    parts: tuple[Waited, ...]
    """The reasons and their times, the longest first."""


class RequestScheduled(Event, frozen=True, kw_only=True, tag=True):
    """A request left the queue.

    `num_cached + num_pending` is its whole length; a resumed request has output tokens already.
    """

    rid: str
    num_cached: int
    num_pending: int
    resumed: bool = False


class TokenDetail(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The model's distribution at one drawn token, from its raw logits: before temperature, bias, penalties and mask.

    Probabilities sum to 1 over the vocabulary.
    """

    drawn: int
    """The token that was drawn; jump-forward may have written another in its place."""
    probability: float
    """The probability of the drawn token."""
    rank: int
    """The rank of the drawn token: 1 is the likeliest, equal logits share a rank."""
    entropy: float
    """The entropy of the whole distribution in nats: 0 is certainty."""
    before: tuple[tuple[int, float], ...]
    """The likeliest tokens and their probabilities, the likeliest first."""
    after: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens that the constraint allows, renormalised to sum to 1; empty without a constraint."""
    removed: float = 0.0
    """The probability of all tokens that the constraint forbids."""
    overruled: bool = False
    """True if the constraint forbids the model's first choice."""
    cost_s: float = 0.0
    """Seconds that this detail added to the step, divided among its tokens."""


class TokenSampled(Event, frozen=True, kw_only=True, tag=True):
    """An output token was drawn, or the grammar forced it."""

    rid: str
    token_id: int
    position: int
    """The index of the token in the output, from 0."""
    num_allowed: int | None = None
    """The number of tokens that the grammar allowed; None without a grammar, and for a forced token."""
    forced: bool = False
    """True if the grammar left no other text, so that nothing was drawn."""
    detail: TokenDetail | None = None
    """The distribution; None while token detail is off, and for a forced token."""


class RequestRetracted(Event, frozen=True, kw_only=True, tag=True):
    """The request went back to the queue: memory ran out in decode, or the weights were replaced."""

    rid: str
    num_output: int
    num_lost: int
    """The number of tokens whose K/V it held; those still in the tree when it resumes are not computed again."""
    needed_by: str
    """Id of the request that needed the space; empty if the weights were replaced."""
    old_ratio: float
    new_ratio: float

    @property
    def cause(self) -> str:
        """The cause in words."""
        return f"{self.needed_by} needed the space" if self.needed_by else "the weights were replaced"


class RequestFinished(Event, frozen=True, kw_only=True, tag=True):
    """A request ended."""

    rid: str
    reason: Literal["stop", "length", "abort"]
    detail: str
    num_prompt: int
    num_cached: int
    num_output: int
