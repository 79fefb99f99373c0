"""`EncodeCall`: the call that makes vectors. Each text is in the log as a request that computes its prompt and has no output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

from workbench.engine.core import EngineCore
from workbench.events import NUM_FIRST, RequestArrived, RequestFinished, RequestScheduled, StepExecuted, StepMember
from workbench.types import EncodeRequest, HiddenRows


class Encodes(Protocol):
    """Makes vectors of token ids."""

    width: int

    def batches(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]: ...

    def encode(self, prompts: Sequence[Sequence[int]]) -> bytes: ...


class EncodeCall:
    """Makes vectors between two steps of a core."""

    def __init__(self, core: EngineCore, encoder: Encodes) -> None:
        self._core = core
        self._encoder = encoder
        self._num_steps = 0

    def __call__(self, texts: Sequence[EncodeRequest]) -> HiddenRows:
        """Returns one vector for each text."""
        rest, parts = iter(texts), list[bytes]()
        for batch in self._encoder.batches([text.input_ids for text in texts]):
            members = list(islice(rest, len(batch)))
            started = self._core.clock()
            parts.append(self._encoder.encode(batch))
            self._num_steps += 1
            if self._core.log.on:
                self._write(members, started)
        return HiddenRows(b"".join(parts), self._encoder.width)

    def _write(self, texts: Sequence[EncodeRequest], started: float) -> None:
        log, cache, now = self._core.log, self._core.cache, self._core.clock()
        for text in texts:
            num_prompt = len(text.input_ids)
            log.add(
                RequestArrived(time=started - text.waited_s, rid=text.rid, num_prompt=num_prompt, max_new_tokens=0,
                               namespace=text.namespace, first_ids=text.input_ids[:NUM_FIRST])
            )  # fmt: skip
            log.add(RequestScheduled(time=started, rid=text.rid, num_cached=0, num_pending=num_prompt))
            log.add(
                RequestFinished(time=now, rid=text.rid, reason="stop", detail="", num_prompt=num_prompt, num_cached=0,
                                num_output=0)
            )  # fmt: skip
        members = tuple(StepMember(text.rid, 0, len(text.input_ids), "prefill") for text in texts)
        log.add(
            StepExecuted(time=now, step=self._num_steps, members=members, plan_s=0.0, execute_s=now - started, commit_s=0.0,
                         budget_left=0, num_waiting=0, pages_free=cache.num_free_pages, pages_tree=cache.num_tree_pages,
                         pages_owned=cache.num_owned_pages)
        )  # fmt: skip
