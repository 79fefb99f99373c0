"""A real core without a model, and the plain loop that it must equal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import structs

from workbench.engine.core import EngineCore
from workbench.engine.fake import FakeRunner, VirtualClock, next_token
from workbench.engine.jump import JumpForward
from workbench.engine.limits import CoreConfig
from workbench.engine.output import TextOut
from workbench.engine.plan import Runner, Sampled, SampleRow
from workbench.engine.scheduler import Propose
from workbench.events import EventLog
from workbench.types import FinishReason, Request, SamplingParams, TokenLogprob

VOCAB_SIZE = 256
"""The vocabulary of `make_core` and `plain_loop`: one token for each byte."""
NUM_TOKENS = 4096
"""The K/V pool of `make_core`, in tokens."""


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


def make_request(
    rid: str, prompt: Iterable[int] = (1, 2, 3), max_new_tokens: int = 8, params: Mapping[str, Any] | None = None, **fields: Any
) -> Request:
    """Returns a request for tokens. `params` holds further sampling parameters, `fields` further fields of `Request`."""
    made = SamplingParams.make({"max_new_tokens": max_new_tokens, **(params or {})})
    return Request(rid=rid, input_ids=tuple(prompt), params=made, **fields)


@dataclass
class Produced:
    """All that a core produced for one request."""

    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    forced: list[bool] = field(default_factory=list)
    """For each token, whether its constraint left no other text there."""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    num_cached: int = 0
    """Prompt tokens that were reused."""
    finish: FinishReason | None = None


def run_to_end(core: EngineCore, max_steps: int = 10_000) -> dict[str, Produced]:
    """Runs all requests to their end and returns what each produced from here on, by request id.

    Raises AssertionError after `max_steps`, and where the cache then holds anything for a request that ended.
    """
    outputs: dict[str, Produced] = {}
    for _ in range(max_steps):
        if not core.has_work:
            core.cache.check()
            assert not core.cache.leases, core.cache.leases
            assert core.cache.num_tree_pages == core.cache.num_evictable_pages
            return outputs
        for out in core.step():
            output = outputs.setdefault(out.rid, Produced())
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
