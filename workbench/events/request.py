"""Events in the life of a request: arrival, compilation, waiting, tokens, finish."""

from __future__ import annotations

from typing import Literal

import msgspec

from workbench.events.base import TEXT, Event, RequestEvent
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
    "memory", "picture memory", "batch full", "token budget", "one prefill at a time", "shared prefix in progress", "compiling",
    "paused",
]  # fmt: skip
"""Reasons why a request stays in the queue."""


class RequestArrived(RequestEvent, frozen=True, kw_only=True, tag=True):
    """A request entered the queue."""

    num_prompt: int
    """Number of tokens in its prompt."""
    max_new_tokens: int
    """Most output tokens that it may have."""
    namespace: str = ""
    """Name of the radix tree in which it shares prefixes."""
    priority: int = 0
    """Rank in the queue: higher ones are scheduled first."""
    grammar: GrammarSpec | None = None
    """The constraint on its output."""
    first_ids: tuple[int, ...] = ()
    """The first tokens of its prompt; views label the request with them."""
    origin: str = ""
    """Client that sent it, in words; empty for a call from Python."""
    pictures: tuple[int, ...] = ()
    """The numbers of its prompt's pictures, in order."""

    @property
    def num_held(self) -> int:
        return 0 if self.grammar is None else len(self.grammar.text) // TEXT


class PictureNumbered(Event, frozen=True, kw_only=True, tag=True):
    """A picture or video came that the engine does not know. Its tokens in the tree are its number below 0 (-3 for picture 3)."""

    number: int
    """Its number in this engine, 1 for the first."""
    digest: str
    """The hash of the picture as the model takes it."""
    kind: Literal["image", "video"]
    """The kind: a picture, or a video."""
    num_tokens: int
    """The number of its tokens."""
    width: int
    """The pixels from left to right before processing; of a video those of a frame."""
    height: int
    """The pixels from top to bottom."""
    thumbnail: str
    """A small form as a `data:` URL; empty where none was made."""

    @property
    def num_held(self) -> int:
        return len(self.thumbnail) // TEXT


class PrefixMatched(RequestEvent, frozen=True, kw_only=True, tag=True):
    """Admission looked the prompt up in the cache; `workbench.why.prefix.reasons` words the reason."""

    num_prompt: int
    """Number of tokens in the prompt."""
    num_cached: int
    """Number of prompt tokens whose K/V was stored and is used again."""
    reason: MatchReason
    """The reason why the cache held no more of the prompt."""
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
    """Name of the radix tree in which it was looked up."""


class GrammarCompiled(RequestEvent, frozen=True, kw_only=True, tag=True):
    """The constraint of a request is ready."""

    kind: str
    """The kind of constraint: "regex", "json_schema", ..."""
    backend: str
    """Name of the grammar backend that compiled it."""
    where: Literal["thread", "child"]
    """The thread of the first caller, or a child process."""
    seconds: float
    """Seconds that the compilation took."""
    num_bytes: int
    """Bytes of memory that the compiled grammar takes."""
    is_cached: bool
    """True if an earlier request compiled it; `seconds` is then that request's time."""


class RequestWaiting(RequestEvent, frozen=True, kw_only=True, tag=True):
    """A request waits for a reason.

    Recorded when the reason is new in this stay in the queue, and ever more rarely while reasons alternate. The
    `RequestWaited` that ends the stay has the time of each.
    """

    reason: WaitReason
    """The reason why it has no place in the next step."""
    blocked_by: str = ""
    """The request it waits for, if there is one."""
    num_needed: int = 0
    """For "memory": the pages that it needs; for "batch full": the running requests with it."""
    num_available: int = 0
    """For "memory": the pages that can be had; for "batch full": the most running requests."""


class Waited(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The time that one reason took in one stay in the queue."""

    reason: WaitReason
    """The reason."""
    seconds: float
    """Seconds of the stay that had this reason."""
    blocked_by: str
    """The request that blocked it for the longest time; empty if none did."""
    has_others: bool = False
    """True if other requests blocked it too, one after the other."""


class RequestWaited(RequestEvent, frozen=True, kw_only=True, tag=True):
    """A stay in the queue ended."""

    parts: tuple[Waited, ...]
    """The reasons and their times, the longest first."""


class RequestScheduled(RequestEvent, frozen=True, kw_only=True, tag=True):
    """A request left the queue.

    `num_cached + num_pending` is its whole length; a resumed request has output tokens already.
    """

    num_cached: int
    """Number of its tokens whose K/V is there already."""
    num_pending: int
    """Number of its tokens that are still to be computed."""
    resumed: bool = False
    """True if it ran before and was retracted."""


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


class TokenSampled(RequestEvent, frozen=True, kw_only=True, tag=True):
    """An output token was drawn, or the grammar forced it."""

    token_id: int
    """Id of the token."""
    position: int
    """The index of the token in the output, from 0."""
    num_allowed: int | None = None
    """The number of tokens that the grammar allowed; None without a grammar, and for a forced token."""
    forced: bool = False
    """True if the grammar left no other text, so that nothing was drawn."""
    detail: TokenDetail | None = None
    """The distribution; None while token detail is off, and for a forced token."""


class RequestRetracted(RequestEvent, frozen=True, kw_only=True, tag=True):
    """The request went back to the queue: memory ran out in decode, or the weights were replaced."""

    num_output: int
    """Number of output tokens that it has, and keeps."""
    num_lost: int
    """The number of tokens whose K/V it held; those still in the tree when it resumes are not computed again."""
    needed_by: str
    """Id of the request that needed the space; empty if the weights were replaced."""
    old_ratio: float
    """The promise before: the share of their remaining output for which running requests keep room free."""
    new_ratio: float
    """The promise from now on, which is at least as high."""

    @property
    def cause(self) -> str:
        """The cause in words."""
        return f"{self.needed_by} needed the space" if self.needed_by else "the weights were replaced"


class RequestFinished(RequestEvent, frozen=True, kw_only=True, tag=True):
    """A request ended."""

    reason: Literal["stop", "length", "abort"]
    """The kind of end: by a stop or the end of text, at the limit of tokens, or by an abort."""
    detail: str
    """The stop that was met, or the reason of an abort, in words; may be empty."""
    num_prompt: int
    """Number of tokens in its prompt."""
    num_cached: int
    """Number of prompt tokens that were not computed again."""
    num_output: int
    """Number of output tokens."""
