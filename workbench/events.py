"""What happened in the engine, and why: typed facts in the past tense, appended to one bounded, numbered log.

Views, metrics, explanations, recordings and tests read this log and nothing else. A site that records writes
`if log.on: log.add(Event(...))`, so recording off costs one branch.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import Literal

import msgspec

from workbench.types import GrammarSpec

NUM_TOLD = 8
"""Tokens that `PrefixMatched` tells of either side where a prompt goes its own way."""
NUM_FIRST = 16
"""Tokens that `RequestArrived` tells of its prompt."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """`time` is seconds on the engine's own clock (monotonic in a real engine, virtual in a simulation).

    `gc=False`, also in what events hold: nothing in them can refer back to them, and a full log is 200,000 events that the
    collector would walk through.
    """

    time: float


class RequestArrived(Event, frozen=True, kw_only=True, tag=True):
    rid: str
    num_prompt: int
    max_new_tokens: int
    namespace: str = ""
    priority: int = 0
    grammar: GrammarSpec | None = None
    """What its output must look like."""
    first_ids: tuple[int, ...] = ()
    """First tokens of its prompt, by which a reader tells requests apart."""


class PrefixMatched(Event, frozen=True, kw_only=True, tag=True):
    """The cache was asked at admission: how much was reused, and why no more (`workbench.cache.prefix` has the words)."""

    rid: str
    num_prompt: int
    num_cached: int
    reason: Literal[
        "whole prompt", "diverged", "nothing stored", "below page size", "evicted", "other namespace", "scored", "disabled"
    ]
    node_id: int
    """Where the match ended; 0 is the root."""
    expected: tuple[int, ...] = ()
    """For "diverged": first tokens the tree holds at that point instead of the prompt's."""
    asked: tuple[int, ...] = ()
    """For "diverged" and "evicted": first tokens of the prompt from there on."""
    evicted_ago: float | None = None
    """For "evicted": seconds since the missing part left."""
    elsewhere: int = 0
    """For "other namespace": tokens that would have matched there."""
    namespace: str = ""


class GrammarCompiled(Event, frozen=True, kw_only=True, tag=True):
    """The constraint of a request was ready, and the request in the queue or about to be."""

    rid: str
    kind: str
    """Of the constraint: "regex", "json_schema", ..."""
    backend: str
    where: Literal["thread", "child"]
    """The thread of the caller who asked for it first, or a child process."""
    seconds: float
    num_bytes: int
    is_cached: bool
    """Compiled for an earlier request, which `seconds` tells of."""


WaitReason = Literal[
    "memory", "batch full", "token budget", "one prefill at a time", "shared prefix in progress", "compiling", "paused"
]


class RequestWaiting(Event, frozen=True, kw_only=True, tag=True):
    """A reason to wait, told when it is new in this stay in the queue, and ever more rarely when reasons take turns.

    How long each held is in the `RequestWaited` that ends the stay.
    """

    rid: str
    reason: WaitReason
    blocked_by: str = ""
    """The request it waits for, where there is one."""
    num_needed: int = 0
    num_available: int = 0


class Waited(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one reason cost in one stay in the queue."""

    reason: WaitReason
    seconds: float
    blocked_by: str
    """The request that was in the way for the longest stretch; empty where none was."""
    has_others: bool = False
    """Others were in the way too, one after the other."""


class RequestWaited(Event, frozen=True, kw_only=True, tag=True):
    """A stay in the queue ended: where its time went, the longest part first."""

    rid: str
    parts: tuple[Waited, ...]


class RequestScheduled(Event, frozen=True, kw_only=True, tag=True):
    """Left the queue. `num_cached + num_pending` is its whole length now; a resumed request has tokens of its own."""

    rid: str
    num_cached: int
    num_pending: int
    resumed: bool = False


class StepMember(msgspec.Struct, frozen=True, array_like=True, gc=False):
    rid: str
    num_cached: int
    num_new: int
    kind: Literal["prefill", "decode"]


class StepExecuted(Event, frozen=True, kw_only=True, tag=True):
    """One forward pass with its exact membership. Times in seconds, memory in pages, before the commit's own changes."""

    step: int
    members: tuple[StepMember, ...]
    plan_s: float
    execute_s: float
    commit_s: float
    budget_left: int
    """Prefill tokens the step could still have taken."""
    num_waiting: int
    pages_free: int
    pages_tree: int
    pages_owned: int


class TokenDetail(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the model thought of one drawn token, from a pass over its logits as they came: before temperature, bias,
    penalties and mask. Probabilities sum to 1 over the vocabulary."""

    drawn: int
    """The token that was drawn; jump-forward may have written another in its place."""
    probability: float
    """Of the drawn token."""
    rank: int
    """1 for the likeliest; equals share a rank."""
    entropy: float
    """Of the whole distribution, in nats: 0 is certainty."""
    before: tuple[tuple[int, float], ...]
    """The likeliest tokens and their probabilities, the model's first choice first."""
    after: tuple[tuple[int, float], ...] = ()
    """The same of those that the constraint allows, whose probabilities sum to 1; empty without a constraint."""
    removed: float = 0.0
    """Probability of all tokens that the constraint forbids."""
    overruled: bool = False
    """The constraint forbids the model's first choice."""
    cost_s: float = 0.0
    """What finding this out added to the step, shared among its tokens."""


class Taken(msgspec.Struct, frozen=True, array_like=True, gc=False):
    rid: str
    pages: tuple[int, ...]


class PagesTaken(Event, frozen=True, kw_only=True, tag=True):
    """Pages that left the pool for running requests in one plan, all of them. `NodeAdded` tells when the tree gets them."""

    taken: tuple[Taken, ...]


class PagesReturned(Event, frozen=True, kw_only=True, tag=True):
    """A request's own pages went back to the pool: another had stored the same, or it left the batch."""

    rid: str
    pages: tuple[int, ...]


class TokenSampled(Event, frozen=True, kw_only=True, tag=True):
    rid: str
    token_id: int
    position: int
    """0 for the first output token."""
    num_allowed: int | None = None
    """Tokens the grammar allowed here; None without a grammar, and for a forced token."""
    forced: bool = False
    """The grammar left no other text, so it was not drawn."""
    detail: TokenDetail | None = None
    """Only while token detail is on; None for a forced token."""


class NodeAdded(Event, frozen=True, kw_only=True, tag=True):
    node_id: int
    parent_id: int
    token_ids: tuple[int, ...]
    pages: tuple[int, ...]
    namespace: str
    rid: str
    num_hits: int = 0
    """This and what follows is more than the defaults only in a snapshot."""
    used_at: float | None = None
    used_by: tuple[str, ...] = ()
    """The last requests that found it here, the newest last."""


class NodeSplit(Event, frozen=True, kw_only=True, tag=True):
    """`node_id` keeps its last tokens; a new node `head_id` above it takes the first `num_head` tokens."""

    node_id: int
    head_id: int
    num_head: int


class NodeEvicted(Event, frozen=True, kw_only=True, tag=True):
    node_id: int
    num_tokens: int
    score: float
    """The policy's key: the smallest left first."""
    needed_by: str
    """The request that got the space; empty for a flush."""


class PathHeld(Event, frozen=True, kw_only=True, tag=True):
    """From here on a request's lock on the tree ends at this node: nothing down to it can be evicted. 0 is the root."""

    rid: str
    node_id: int
    namespace: str
    num_tokens: int
    """From the root to the end of the node."""
    is_hit: bool = False
    """It was found there at admission, which counts as a use of every node on the path."""


class PathReleased(Event, frozen=True, kw_only=True, tag=True):
    """The request's lock is gone."""

    rid: str


class RequestRetracted(Event, frozen=True, kw_only=True, tag=True):
    """Memory ran out in decode and this request went back to the queue."""

    rid: str
    num_output: int
    num_lost: int
    """Tokens whose K/V it had; what is still in the tree when it resumes is not computed again."""
    needed_by: str
    old_ratio: float
    new_ratio: float


class RequestFinished(Event, frozen=True, kw_only=True, tag=True):
    rid: str
    reason: Literal["stop", "length", "abort"]
    detail: str
    num_prompt: int
    num_cached: int
    num_output: int


class CacheFlushed(Event, frozen=True, kw_only=True, tag=True):
    num_tokens: int


class SnapshotTaken(Event, frozen=True, kw_only=True, tag=True):
    """A snapshot of the engine was made (`engine/snapshot.py`). It includes the effect of every event before this one."""

    number: int
    """Of this event in the engine's own log."""
    pages_free: int = 0
    pages_tree: int = 0
    pages_owned: int = 0


class ProgramStarted(Event, frozen=True, kw_only=True, tag=True):
    """A program of the frontend language runs. Its events carry its id; their `time` is that of `time.monotonic`."""

    program: str
    name: str
    backend: str
    model: str = ""


class PartReached(Event, frozen=True, kw_only=True, tag=True):
    """A state of the program has come to this part of its prompt. Parts are numbered from 1 in the order reached."""

    program: str
    part: int
    branch: tuple[int, ...]
    """Which state: () is the root, (part of the fork, index of the child, ...) a child."""
    kind: str
    """The node's class in lower case: text, gen, select, rolebegin, fork, ..."""
    name: str = ""
    """Of the variable, or the role."""
    text: str = ""
    """Literal text."""
    detail: str = ""
    """Constraint, choices, number of children, in words."""
    place: str = ""
    """The program's line."""


class RequestLinked(Event, frozen=True, kw_only=True, tag=True):
    """The part asked its backend; in an engine's log the request has the same id."""

    program: str
    part: int
    rid: str


class PartFinished(Event, frozen=True, kw_only=True, tag=True):
    """A generation or selection has its text. Counts are None where the backend does not report them."""

    program: str
    part: int
    text: str
    num_prompt: int | None = None
    num_cached: int | None = None
    num_output: int | None = None
    num_requests: int = 1
    """The counts are sums over so many requests: the samples of a generation, the options of a selection."""
    finish: str = ""
    samples: tuple[str, ...] = ()
    """The texts of the other samples, where several were asked for."""
    scores: tuple[tuple[str, str], ...] = ()
    """(option, score) of a selection."""
    logprobs: tuple[tuple[str, float], ...] = ()
    """(token text, log-probability), where they were asked for."""
    replayed: bool = False
    """The text is from an earlier run (`rerun`), nothing was asked."""


class ProgramFinished(Event, frozen=True, kw_only=True, tag=True):
    program: str
    error: str = ""


AnyEvent = (
    RequestArrived | GrammarCompiled | PrefixMatched | RequestWaiting | RequestWaited | RequestScheduled | StepExecuted
    | PagesTaken | PagesReturned | TokenSampled | NodeAdded | NodeSplit | NodeEvicted | PathHeld | PathReleased | RequestRetracted
    | RequestFinished | CacheFlushed | SnapshotTaken
    | ProgramStarted | PartReached | RequestLinked | PartFinished | ProgramFinished
)  # fmt: skip


class EventLog:
    """Bounded and numbered. Any thread may write and read."""

    def __init__(self, capacity: int = 200_000) -> None:
        self.on = capacity > 0
        self._events: deque[Event] = deque(maxlen=max(capacity, 1))
        self.num_added = 0
        """Events ever added; the number of the next one."""
        self._lock = threading.Lock()

    def add(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)
            self.num_added += 1

    def skip(self, num_events: int) -> None:
        """So many events happened that nobody can read any more: readers find out that they fell behind."""
        with self._lock:
            self._events.clear()
            self.num_added += num_events

    def read(self, since: int = 0) -> tuple[int, list[Event]]:
        """Reads only: events numbered `since` and later that are still held, and the number of the first one.

        A first number above `since` tells a reader that it fell behind and lost the events between.
        """
        with self._lock:
            first = max(since, self.num_added - len(self._events))
            events = list(islice(reversed(self._events), max(self.num_added - first, 0)))  # from the end: no walk over the old
        events.reverse()
        return first, events

    def number_after(self, event: Event) -> int:
        """Returns the number of the first event after the newest one that equals `event`; where none is held any more, that of
        the oldest held."""
        with self._lock:
            for num_behind, held in enumerate(reversed(self._events)):
                if held == event:
                    return self.num_added - num_behind
            return self.num_added - len(self._events)


class NullLog(EventLog):
    """Records nothing."""

    def __init__(self) -> None:
        super().__init__(capacity=0)

    def add(self, event: Event) -> None:
        pass
