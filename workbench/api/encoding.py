"""`Encoding`: texts to vectors on an engine that was loaded with `is_embedding`."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import structs

from workbench.api.handle import Handle
from workbench.errors import InvalidRequest, NotSupported, PromptTooLong
from workbench.native.prompts import Prompt, read_prompts
from workbench.types import EncodeRequest

logger = logging.getLogger("workbench")
Vector = npt.NDArray[np.float32]
CALL_TOKENS = 8192
"""Most tokens of one call to the engine, so that other calls have their turn between two."""


class Pair(NamedTuple):
    """Two texts that a cross-encoder reads as one: a query and a document."""

    first: str
    second: str


class Waiting(NamedTuple):
    """A text on an event loop until its vector is there."""

    text: EncodeRequest
    future: asyncio.Future[Vector]
    since: float


class Encoding:
    """Computes vectors. On an event loop, texts that come while the engine computes are joined into its next call."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._waiting: deque[Waiting] = deque()
        self._work: asyncio.Task[None] | None = None

    def results(self, prompt: object, input_ids: object = None, pairs: object = None) -> Any:
        """Returns one result as a dict, or a list of them for a list of prompts or pairs. Raises what `texts_of` raises."""
        is_one, prompts = read_prompts(prompt, input_ids) if pairs is None else (False, _read_pairs(prompt, input_ids, pairs))
        texts = self.texts_of(prompts)
        vectors: list[Vector] = []
        waiting = deque(texts)
        while waiting:
            vectors += self._call(_next_call(waiting))
        return shaped(is_one, texts, vectors)

    def texts_of(self, prompts: Sequence[Prompt | Pair], *, cuts: bool = False) -> list[EncodeRequest]:
        """Returns the prompts as token ids, checked, each with a new id; `cuts` cuts those that are too long.

        Raises InvalidRequest, PromptTooLong, and NotSupported for an engine that makes text.
        """
        self._need_embedding()
        cuts = cuts or self._handle.args.allow_auto_truncate
        return [self._text(prompt, cuts) for prompt in prompts]

    async def vectors(self, texts: Sequence[EncodeRequest]) -> list[Vector]:
        """Returns the vectors of checked texts, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        waiting = [Waiting(text, loop.create_future(), time.monotonic()) for text in texts]
        self._waiting.extend(waiting)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._answer_all())
        return list(await asyncio.gather(*(each.future for each in waiting)))

    async def _answer_all(self) -> None:
        while batch := self._next_batch():
            now = time.monotonic()
            texts = [structs.replace(each.text, waited_s=now - each.since) for each in batch]
            try:
                vectors = await asyncio.to_thread(self._call, texts)
            except Exception as error:
                for each in batch:
                    if not each.future.done():
                        each.future.set_exception(error)
                continue
            for each, vector in zip(batch, vectors, strict=True):
                if not each.future.done():
                    each.future.set_result(vector)

    def _next_batch(self) -> list[Waiting]:
        """Takes texts from the front, up to `CALL_TOKENS`, without those whose caller has left."""
        batch: list[Waiting] = []
        num_tokens = 0
        while self._waiting and (not batch or num_tokens + len(self._waiting[0].text.input_ids) <= CALL_TOKENS):
            each = self._waiting.popleft()
            if not each.future.done():
                batch.append(each)
                num_tokens += len(each.text.input_ids)
        return batch

    def _call(self, texts: list[EncodeRequest]) -> list[Vector]:
        rows = self._handle.client.engine.encode(texts)
        if self._handle.args.log_requests:
            for text in texts:
                self._log(text, rows.width)
        return list(np.frombuffer(rows.data, np.float32).reshape(-1, rows.width))

    def _log(self, text: EncodeRequest, width: int) -> None:
        shown = self._handle.tokenizer.decode(text.input_ids) if self._handle.has_tokenizer else text.input_ids
        logger.warning("request %s: %d tokens in, %d numbers out, in=%r", text.rid, len(text.input_ids), width, shown)

    def _need_embedding(self) -> None:
        if not self._handle.args.is_embedding:
            hint = "load the model with is_embedding=True (--is-embedding)"
            raise NotSupported("this engine makes text, no embeddings", hint=hint)

    def _text(self, prompt: Prompt | Pair, cuts: bool) -> EncodeRequest:
        rid = uuid.uuid4().hex
        if not isinstance(prompt, Pair):
            ids = self._handle.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
            return EncodeRequest(
                rid=rid, input_ids=self._fitting("prompt" if isinstance(prompt, str) else "input_ids", ids, cuts)
            )
        ids, second_from = self._handle.tokenizer.encode_pair(*prompt)
        return EncodeRequest(rid=rid, input_ids=self._fitting("pairs", ids, cuts), second_from=second_from)

    def _fitting(self, field: str, ids: tuple[int, ...], cuts: bool) -> tuple[int, ...]:
        """Returns the ids of a text, cut if it is too long and `cuts`. Raises for what the model cannot read."""
        info = self._handle.info
        room = min(info.context_length, info.max_total_num_tokens)
        if not ids:
            raise InvalidRequest(field, list(ids), "at least one token")
        if bad := next((token for token in ids if not 0 <= token < info.vocab_size), None):
            raise InvalidRequest("input_ids", bad, f"a token id from 0 to {info.vocab_size - 1}")
        if len(ids) > room and not cuts:
            hint = "send less, or load with allow_auto_truncate=True"
            raise PromptTooLong(field, f"{len(ids)} tokens", f"at most {room} tokens", hint=hint)
        # A text keeps its last token, the one that the tokenizer puts at the end of every text.
        return (*ids[: room - 1], ids[-1]) if len(ids) > room else ids


def _read_pairs(prompt: object, input_ids: object, pairs: object) -> list[Pair]:
    if prompt is not None or input_ids is not None:
        raise InvalidRequest.because("pairs", "pairs are given beside prompt or input_ids", hint="give one of them")
    listed: Sequence[Any] = pairs if isinstance(pairs, (list, tuple)) else [pairs]
    for pair in listed:
        if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise InvalidRequest("pairs", pair, "a list of pairs of texts: [(query, document), ...]")
    return [Pair(pair[0], pair[1]) for pair in listed]


def shaped(is_one: bool, texts: Sequence[EncodeRequest], vectors: Sequence[Vector]) -> Any:
    """Returns the results in the shape of the call."""
    results = [
        {"embedding": vector.tolist(), "meta_info": {"id": text.rid, "prompt_tokens": len(text.input_ids)}}
        for text, vector in zip(texts, vectors, strict=True)
    ]
    return results[0] if is_one else results


def _next_call(waiting: deque[EncodeRequest]) -> list[EncodeRequest]:
    """Takes texts from the front, up to `CALL_TOKENS`."""
    taken = [waiting.popleft()]
    num_tokens = len(taken[0].input_ids)
    while waiting and num_tokens + len(waiting[0].input_ids) <= CALL_TOKENS:
        taken.append(waiting.popleft())
        num_tokens += len(taken[-1].input_ids)
    return taken
