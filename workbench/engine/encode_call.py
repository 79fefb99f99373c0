"""`EncodeCall`: the call that makes vectors. Each text is in the log as a request that computes its prompt and has no output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from workbench.engine.core import EngineCore
from workbench.events import NUM_FIRST, RequestArrived, RequestFinished, RequestScheduled, StepExecuted, StepMember
from workbench.types import EncodeRequest, HiddenRows, Segment


@dataclass(frozen=True, slots=True)
class PlannedText:
    """A text in a forward pass: its tokens, the number of them whose K/V is there, and the pages of it."""

    request: EncodeRequest
    num_cached: int = 0
    segments: tuple[Segment, ...] = ()
    """Empty for an encoder, which keeps no K/V."""


class Encodes(Protocol):
    """Makes vectors of token ids."""

    width: int
    keeps_kv: bool
    """True: texts need pages for their K/V."""
    reuses: bool
    """True: K/V of a text's beginning that is there need not be computed."""

    def batches(self, texts: Sequence[EncodeRequest]) -> Iterator[list[EncodeRequest]]: ...

    def encode(self, texts: Sequence[PlannedText]) -> bytes: ...


class EncodeCall:
    """Makes vectors between two steps of a core, over its cache."""

    def __init__(self, core: EngineCore, encoder: Encodes) -> None:
        self._core = core
        self._encoder = encoder
        self._num_steps = 0

    def __call__(self, texts: Sequence[EncodeRequest]) -> HiddenRows:
        """Returns one vector for each text."""
        parts = list[bytes]()
        for batch in self._encoder.batches(texts):
            started = self._core.clock()
            self._num_steps += 1
            if self._core.log.on:
                self._write_arrived(batch, started)
            with ExitStack() as held:
                planned = [self._planned(text, held) for text in batch]
                self._core.cache.tell_taken()
                parts.append(self._encoder.encode(planned))
            if self._core.config.check:
                self._core.cache.check()
            if self._core.log.on:
                self._write_done(planned, started)
        return HiddenRows(b"".join(parts), self._encoder.width)

    def _planned(self, text: EncodeRequest, held: ExitStack) -> PlannedText:
        """Returns the text with the pages of its K/V. Changes: leases them until `held` ends; then they stay."""
        if not self._encoder.keeps_kv:
            return PlannedText(text)
        cache, size = self._core.cache, len(text.input_ids)
        lease = cache.lease(cache.match(text.input_ids, text.namespace, size - 1 if self._encoder.reuses else 0), text.rid)
        held.enter_context(lease)
        has_room = cache.grow(lease, size)
        assert has_room, f"a batch of texts fits the {cache.num_pages} pages"
        planned = PlannedText(text, lease.num_shared, lease.segments())
        if self._encoder.reuses:
            held.push(lambda error, *_: cache.commit(lease, text.input_ids) if error is None else None)
        return planned

    def _write_arrived(self, texts: Sequence[EncodeRequest], started: float) -> None:
        for text in texts:
            self._core.log.add(
                RequestArrived(time=started - text.waited_s, rid=text.rid, num_prompt=len(text.input_ids), max_new_tokens=0,
                               namespace=text.namespace, first_ids=text.input_ids[:NUM_FIRST])
            )  # fmt: skip

    def _write_done(self, texts: Sequence[PlannedText], started: float) -> None:
        log, cache, now = self._core.log, self._core.cache, self._core.clock()
        members = []
        for text in texts:
            rid, num_prompt, num_cached = text.request.rid, len(text.request.input_ids), text.num_cached
            log.add(RequestScheduled(time=started, rid=rid, num_cached=num_cached, num_pending=num_prompt - num_cached))
            log.add(
                RequestFinished(time=now, rid=rid, reason="stop", detail="", num_prompt=num_prompt, num_cached=num_cached,
                                num_output=0)
            )  # fmt: skip
            members.append(StepMember(rid, num_cached, num_prompt - num_cached, "prefill"))
        log.add(
            StepExecuted(time=now, step=self._num_steps, members=tuple(members), plan_s=0.0, execute_s=now - started,
                         commit_s=0.0, budget_left=0, num_waiting=0, pages_free=cache.num_free_pages,
                         pages_tree=cache.num_tree_pages, pages_owned=cache.num_owned_pages)
        )  # fmt: skip
