"""`Generation`: turns a checked call into the engine's requests, and their outputs into results or a stream of results."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol, TypeVar

from workbench.api.handle import Handle
from workbench.api.request_log import RequestLog
from workbench.api.sessions import Sessions, Turn, without_begin
from workbench.api.underway import Underway
from workbench.client.protocol import EngineClient
from workbench.client.stream import Stream, read, read_async
from workbench.native.collector import Collector
from workbench.native.requests import GenerateRequest, PromptBatch, make_batch
from workbench.native.results import Completion, Results
from workbench.native.session import SessionParams
from workbench.types import Request, SamplingParams, SeenPrompt, TokenOut


class Observer(Protocol):
    """Follows the requests of one call: each output, and the end of the call."""

    def add(self, i: int, out: TokenOut) -> None: ...

    def close(self) -> None: ...


Observe = Callable[[Sequence[Request]], Observer]
Chunks = TypeVar("Chunks", Iterator[Completion], AsyncIterator[Completion], AsyncIterator[tuple[int, TokenOut]])


@dataclass(frozen=True, slots=True)
class Running:
    """The requests of one call, their streams, and the outputs received so far."""

    batch: PromptBatch
    streams: list[Stream]
    collectors: list[Collector]
    turns: list[Turn | None]
    """The turn of its session that each request is."""
    stream_interval: int
    observers: Sequence[Observer] = ()

    def read(self) -> Iterator[tuple[int, TokenOut]]:
        """Yields (number of the request, output of one step) as they come."""
        for i, out in read(self.streams):
            for observer in self.observers:
                observer.add(i, out)
            yield i, out

    async def read_async(self) -> AsyncIterator[tuple[int, TokenOut]]:
        """Yields the same without blocking the event loop."""
        async for i, out in read_async(self.streams):
            for observer in self.observers:
                observer.add(i, out)
            yield i, out

    def add(self, i: int, out: TokenOut) -> None:
        self.collectors[i].add(out)
        if (turn := self.turns[i]) is not None:
            turn.output_ids += out.token_ids

    def chunk(self, i: int, out: TokenOut) -> Completion | None:
        """Adds an output; returns the result so far if a chunk is due."""
        self.add(i, out)
        is_due = self.collectors[i].is_due(self.stream_interval)
        return self.batch.chunk(self.collectors[i].result(), i) if is_due else None


class Generation:
    """Runs requests on an engine. A reader that leaves early, by an error, an interrupt or `close`, aborts its requests."""

    def __init__(self, handle: Handle, sessions: Sessions | None = None, observe: Observe | None = None) -> None:
        """Runs requests on the engine of `handle`; `observe` makes an observer of the requests of each call."""
        self._handle = handle
        self._observe = [*([self._log_of] if handle.args.log_requests else []), *([observe] if observe else [])]
        self.sessions = sessions or Sessions()
        self._seeds = random.Random(handle.info.random_seed)
        self.underway = Underway()
        """The request ids that the engine does not have yet."""

    def abort(self, rid: str) -> None:
        """Ends the request with this id, or all samples of one, also while its prompt is still being tokenised."""
        self.underway.abort(rid)
        self._handle.client.abort(rid)

    def results(self, request: GenerateRequest) -> Results:
        """Returns the results of all prompts, in the shape of the call: one, a list, or a list of lists."""
        running = self._submit(request)
        with _ending(self._handle.client, running):
            for i, out in running.read():
                running.add(i, out)
        return self._shaped(running)

    async def finished(self, running: Running) -> Results:
        """Returns the results of requests that were queued by `submit`."""
        with _ending(self._handle.client, running):
            async for i, out in running.read_async():
                running.add(i, out)
        return self._shaped(running)

    def stream(self, request: GenerateRequest) -> Iterator[Completion]:
        """Returns the results as they grow. The requests are queued when this returns."""
        running = self._submit(request)
        return _watched(self._chunks(running), self._handle.client, running)

    def chunks(self, running: Running) -> AsyncIterator[Completion]:
        """Returns the results, as they grow, of requests that were queued by `submit`."""
        return _watched(self._async_chunks(running), self._handle.client, running)

    async def submit(self, request: GenerateRequest) -> Running:
        """Queues the requests of a call. Tokenising and the wait for the engine's answer are on a thread of the event loop."""
        with self.underway.of(_rids(request)):  # the thread may begin late
            work = asyncio.ensure_future(asyncio.to_thread(self._submit, request))
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                work.add_done_callback(self._abandon)
                raise

    def _abandon(self, work: asyncio.Future[Running]) -> None:
        """Aborts requests whose caller left while they were queued."""
        if not work.cancelled() and work.exception() is None:
            _end(weakref.ref(self._handle.client), work.result())

    def outputs(self, running: Running) -> AsyncIterator[tuple[int, TokenOut]]:
        """Returns (number of the request, output of one step), as they come, of requests that were queued by `submit`."""
        return _watched(self._outputs(running), self._handle.client, running)

    async def _outputs(self, running: Running) -> AsyncIterator[tuple[int, TokenOut]]:
        with _ending(self._handle.client, running):
            async for each in running.read_async():
                yield each

    def _chunks(self, running: Running) -> Iterator[Completion]:
        with _ending(self._handle.client, running):
            for i, out in running.read():
                if (chunk := running.chunk(i, out)) is not None:
                    yield chunk

    async def _async_chunks(self, running: Running) -> AsyncIterator[Completion]:
        with _ending(self._handle.client, running):
            async for i, out in running.read_async():
                if (chunk := running.chunk(i, out)) is not None:
                    yield chunk

    def _submit(self, request: GenerateRequest) -> Running:
        rids = _rids(request)
        with self.underway.of(rids):
            running = self._queue(request)
            for rid in self.underway.aborted(rids):
                self._handle.client.abort(rid)
        return running

    def _queue(self, request: GenerateRequest) -> Running:
        handle = self._handle
        batch = make_batch(request, self._limited, self._seeds, self._continued, handle.see)
        name = handle.tokenizer.token_text if handle.has_tokenizer else None
        collectors = [
            Collector(each, name_token=name if with_text else None, has_text=name is not None)
            for each, with_text in zip(batch.requests, batch.with_text, strict=True)
        ]
        streams = handle.client.submit(batch.requests)
        turns, replaced = self.sessions.begin(batch, streams)
        for rid in replaced:
            handle.client.abort(rid)
        observers = [observe(batch.requests) for observe in self._observe]
        return Running(batch, streams, collectors, turns, handle.args.stream_interval, observers)

    def _continued(self, session: SessionParams, rid: str, own: SeenPrompt) -> SeenPrompt:
        """Returns a prompt behind the turn that it continues. A begin token in the middle is left out."""
        before = self.sessions.context(session, rid)
        bos = self._handle.tokenizer.bos_token_id if self._handle.has_tokenizer else None
        own = without_begin(own, bos) if before.ids else own
        if before.pictures or own.pictures:
            return self._handle.eyes.joined(before, own)
        return SeenPrompt(before.ids + own.ids)

    def _log_of(self, requests: Sequence[Request]) -> Observer:
        return RequestLog(requests, self._handle.tokenizer.decode if self._handle.has_tokenizer else None)

    def _limited(self, ids: tuple[int, ...], params: SamplingParams) -> tuple[int, ...]:
        """Returns the token ids; with `allow_auto_truncate` only the last of them that leave room for the output."""
        info = self._handle.info
        room = min(info.context_length, info.max_total_num_tokens) - params.max_new_tokens
        return ids[-room:] if self._handle.args.allow_auto_truncate and 0 < room < len(ids) else ids

    def _shaped(self, running: Running) -> Results:
        return running.batch.shape([collector.result() for collector in running.collectors])


def _rids(request: GenerateRequest) -> list[str]:
    """Returns the ids that the caller gave. Others are new, so that no abort names them yet."""
    return [each.options.rid for each in request.prompts if each.options.rid]


def _ending(client: EngineClient, running: Running) -> ExitStack:
    """Returns a context whose end aborts the requests that were not read to their end."""
    stack = ExitStack()
    stack.callback(_end, weakref.ref(client), running)
    return stack


def _watched(chunks: Chunks, client: EngineClient, running: Running) -> Chunks:
    """Returns the generator. Its requests are aborted even if it is dropped before its first `next`, when no code of it has
    run."""
    weakref.finalize(chunks, _end, weakref.ref(client), running).atexit = False
    return chunks


def _end(client: weakref.ref[EngineClient], running: Running) -> None:
    """Aborts open requests, and closes the observers. The reference is weak, so that a stream does not keep the model of a
    closed engine in memory."""
    alive = client()
    for stream in running.streams:
        if alive is not None and not stream.is_finished:
            stream.is_finished = True
            alive.abort(stream.rid)
    for observer in running.observers:
        observer.close()
