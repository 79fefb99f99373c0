"""Parts for tests of engines, views and programs without a model: no torch, no thread, no waiting.

`make_core` makes a real `EngineCore` on the fake runner, and `plain_loop` gives the tokens that its requests must produce:

    core = make_core(page_size=4, chunked_prefill_size=3)
    core.add(make_request("a", range(20), 8))
    assert run_to_end(core)["a"].token_ids == plain_loop(range(20), 8)

`ScriptedRunner` produces given tokens instead, `ByteTokenizer` turns text into bytes, `AllowTokens` stands for a constraint, and
`FoldReader` folds a core's event log as a live view does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from msgspec import structs

from workbench.client.answers import EngineInfo, WeightsInfo
from workbench.engine.calls import CoreCalls
from workbench.engine.core import EngineCore
from workbench.engine.fake import FakeRunner, VirtualClock, next_token
from workbench.engine.jump import JumpForward
from workbench.engine.limits import CoreConfig
from workbench.engine.local_client import LocalClient, Prepare
from workbench.engine.output import TextOut
from workbench.engine.plan import Runner, Sampled, SampleRow
from workbench.engine.scheduler import Propose
from workbench.engine.snapshot import snapshot
from workbench.events import Event, EventLog
from workbench.grammar.mask import pack
from workbench.grammar.matcher import Made
from workbench.types import FinishReason, Request, SamplingParams, TokenLogprob

__all__ = [
    "VOCAB_SIZE", "AllowAll", "AllowTokens", "BrokenMatcher", "ByteTokenizer", "FoldReader", "Output", "ScriptedRunner",
    "VirtualClock", "core_calls", "events_of", "make_client", "make_core", "make_request", "plain_loop", "run_to_end",
]  # fmt: skip

VOCAB_SIZE = 256
"""The vocabulary of `make_core` and `plain_loop`: one token for each byte."""
NUM_TOKENS = 4096
"""The K/V pool of `make_core`, in tokens."""


# -- the engine ------------------------------------------------------------------------------------------------------


def plain_loop(prompt: Iterable[int], num_new: int, vocab_size: int = VOCAB_SIZE) -> list[int]:
    """Returns `num_new` tokens of the fake model after `prompt`, from the whole text at each step: no cache, no batch."""
    tokens = list(prompt)
    num_prompt = len(tokens)
    for _ in range(num_new):
        tokens.append(next_token(tokens, vocab_size))
    return tokens[num_prompt:]


def make_core(
    *, num_tokens: int = NUM_TOKENS, runner: Runner | None = None, clock: Callable[[], float] | None = None,
    log: EventLog | None = None, text_for: Callable[[Request], TextOut | None] | None = None, jump: JumpForward | None = None,
    disable_jump_forward: bool = False, propose: Propose | None = None, **config: Any,
) -> EngineCore:  # fmt: skip
    """Returns a core on `FakeRunner` and a virtual clock that checks its accounts after every step.

    `config` holds fields of `CoreConfig`. `num_tokens` is the size of the K/V pool, unless `num_pages` is given.
    """
    num_pages = num_tokens // config.get("page_size", 1)
    defaults = {"num_pages": num_pages, "context_length": 1000, "vocab_size": VOCAB_SIZE, "check": True}
    core_config = CoreConfig(**defaults | config)
    clock = VirtualClock() if clock is None else clock
    if runner is None:
        runner = FakeRunner(core_config.vocab_size, clock=clock if isinstance(clock, VirtualClock) else None)
    return EngineCore(core_config, runner, log=log, clock=clock, text_for=text_for, jump=jump,
                      disable_jump_forward=disable_jump_forward, propose=propose)  # fmt: skip


def core_calls(core: EngineCore, kind: type[CoreCalls] = CoreCalls) -> CoreCalls:
    """Returns the calls on a core that has no model."""
    config, name = core.config, type(core.runner).__name__
    info = EngineInfo(
        device="cpu", dtype="float32", kv_cache_dtype="float32", architecture=name, attention_backend="none", num_threads=1,
        context_length=config.context_length, vocab_size=config.vocab_size, random_seed=config.random_seed,
        max_total_num_tokens=config.num_pages * config.page_size, max_running_requests=config.max_running_requests,
        chunked_prefill_size=config.chunked_prefill_size, weights_bytes=0, kv_bytes_per_token=0, load_s=0.0,
    )  # fmt: skip
    weights = WeightsInfo(model_path="", load_format="dummy", architecture=name, dtype="float32", num_bytes=0)
    return kind(core, info, weights)


def make_client(
    core: EngineCore, prepare: Prepare = lambda request: (None, None), calls: type[CoreCalls] = CoreCalls
) -> LocalClient:
    """Returns a client that runs the core on a thread. Close it."""
    return LocalClient(core, prepare, core_calls(core, calls))


def make_request(
    rid: str, prompt: Iterable[int] = (1, 2, 3), max_new_tokens: int = 8, params: Mapping[str, Any] | None = None, **fields: Any
) -> Request:
    """Returns a request for tokens. `params` holds further sampling parameters, `fields` further fields of `Request`."""
    made = SamplingParams.make({"max_new_tokens": max_new_tokens, **(params or {})})
    return Request(rid=rid, input_ids=tuple(prompt), params=made, **fields)


@dataclass
class Output:
    """All that a core produced for one request."""

    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    forced: list[bool] = field(default_factory=list)
    """For each token, whether its constraint left no other text there."""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    num_cached: int = 0
    """Prompt tokens that were reused."""
    finish: FinishReason | None = None


def run_to_end(core: EngineCore, max_steps: int = 10_000) -> dict[str, Output]:
    """Runs all requests to their end and returns what each produced from here on, by request id.

    Raises AssertionError after `max_steps`, and where the cache then holds anything for a request that ended.
    """
    outputs: dict[str, Output] = {}
    for _ in range(max_steps):
        if not core.has_work:
            core.cache.check()
            assert not core.cache.leases, core.cache.leases
            assert core.cache.tree.num_pinned_pages == 0
            return outputs
        for out in core.step():
            output = outputs.setdefault(out.rid, Output())
            output.token_ids += out.token_ids
            output.text += out.text
            output.forced += out.forced or (False,) * len(out.token_ids)
            output.logprobs += out.logprobs
            output.num_cached = out.num_cached
            output.finish = out.finish
    raise AssertionError(f"the engine is not done after {max_steps} steps")


class ScriptedRunner(FakeRunner):
    """Draws the given tokens for the requests named in `answers`, and the fake model's for others and behind their end.

    All else is done as `FakeRunner` does it: wrong pages, positions and prefixes are found.
    """

    def __init__(self, answers: Mapping[str, Sequence[int]], vocab_size: int = VOCAB_SIZE, **costs: Any) -> None:
        super().__init__(vocab_size, **costs)
        self.answers = answers

    def sample(self, rid: str, row: SampleRow, state: int) -> Sampled:
        """Draws as `FakeRunner` does and replaces the token."""
        drawn, answer = super().sample(rid, row, state), self.answers.get(rid, ())
        return structs.replace(drawn, token_id=answer[row.position]) if row.position < len(answer) else drawn


# -- text and constraints --------------------------------------------------------------------------------------------


class ByteTokenizer:
    """The part of a Hugging Face tokenizer that tests need: one token per byte; `end_id` ends a turn."""

    end_id = 256

    def encode(self, text: str) -> list[int]:
        """Returns the bytes of `text`."""
        return list(text.encode("utf-8", "surrogatepass"))

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True, clean_up_tokenization_spaces: bool = False) -> str:
        """Returns the text; half characters become U+FFFD."""
        text = bytes(token for token in ids if token != self.end_id).decode("utf-8", "replace")
        return text if skip_special_tokens else text + "<|end|>" * list(ids).count(self.end_id)

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True, return_dict: bool = False
    ) -> list[int]:
        """Returns the tokens of one line `role: content` for each message and of the assistant's next line."""
        assert add_generation_prompt
        assert not return_dict
        lines = [f"{message['role']}: {message['content']}\n" for message in messages]
        return self.encode("".join([*lines, "assistant: "]))


class AllowTokens:
    """A matcher that allows the given token ids at every position."""

    made: Made | None = None
    unenforced: tuple[str, ...] = ()
    is_complete = True
    is_finished = False

    def __init__(self, *token_ids: int) -> None:
        self.token_ids = token_ids

    def fill_mask(self, mask: np.ndarray) -> None:
        """Sets the bits of the allowed tokens in `mask`, int32 [ceil(V / 32)]."""
        flags = np.zeros(mask.size * 32, dtype=bool)
        flags[list(self.token_ids)] = True
        mask[:] = pack(flags)

    def accept(self, token_id: int) -> None:
        """Asserts that the token is allowed."""
        assert token_id in self.token_ids

    def forced(self) -> bytes:
        """Returns no text: nothing is forced."""
        return b""


class AllowAll(AllowTokens):
    """A matcher that allows every token."""

    def fill_mask(self, mask: np.ndarray) -> None:
        """Sets all bits of `mask`."""
        mask[:] = -1

    def accept(self, token_id: int) -> None:
        """Accepts the token."""


class BrokenMatcher(AllowTokens):
    """A matcher that fails when its mask is needed."""

    def fill_mask(self, mask: np.ndarray) -> None:
        """Raises ValueError."""
        raise ValueError("no such state")


# -- the event log ---------------------------------------------------------------------------------------------------


class Applies(Protocol):
    """The part of a view's fold that a reader needs."""

    def apply(self, event: Event) -> None:
        """Adds an event."""


F = TypeVar("F", bound=Applies)
E = TypeVar("E", bound=Event)


class HasLog(Protocol):
    """A core or a client."""

    @property
    def log(self) -> EventLog: ...


def events_of(engine: HasLog, kind: type[E], rid: str | None = None) -> list[E]:
    """Returns the logged events of one class, of one request if `rid` is given."""
    found = [event for event in engine.log.read()[1] if isinstance(event, kind)]
    return [event for event in found if rid is None or getattr(event, "rid", None) == rid]


class FoldReader(Generic[F]):
    """Folds a core's log. It begins at the oldest event; if it fell behind a bounded log, it goes on from a snapshot."""

    def __init__(self, core: EngineCore, make_fold: Callable[[], F]) -> None:
        self._core, self._make_fold = core, make_fold
        self.fold = make_fold()
        self.number = 0
        """The log's number of the next event to read."""
        self.num_restarts = 0

    def read(self) -> F:
        """Folds the new events and returns the fold."""
        first, events = self._core.log.read(self.number)
        if first > self.number:
            self.restart()
            first, events = self._core.log.read(self.number)
        for event in events:
            self.fold.apply(event)
        self.number = first + len(events)
        return self.fold

    def restart(self) -> F:
        """Begins again from a snapshot and returns the new fold. Call it between two steps."""
        self.fold = self._make_fold()
        state = snapshot(self._core)
        self.number = self._core.log.number_after(state.taken)
        for event in state.events:
            self.fold.apply(event)
        self.num_restarts += 1
        return self.fold
