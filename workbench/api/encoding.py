"""`Encoding`: texts to vectors on an engine that was loaded with `is_embedding`."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.api.handle import Handle
from workbench.errors import InvalidRequest, NotSupported, PromptTooLong
from workbench.native.prompts import Prompt, read_prompts
from workbench.types import HiddenRows

Vector = npt.NDArray[np.float32]
CALL_TOKENS = 8192
"""Most tokens of one call to the engine, so that other calls have their turn between two."""


class Encoding:
    """Computes vectors. On an event loop, texts that come while the engine computes are joined into its next call."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._waiting: deque[tuple[tuple[int, ...], asyncio.Future[Vector]]] = deque()
        self._work: asyncio.Task[None] | None = None

    def results(self, prompt: object, input_ids: object = None) -> Any:
        """Returns one result as a dict, or a list of them for a list of prompts. Raises what `ids_of` raises."""
        is_one, prompts = read_prompts(prompt, input_ids)
        ids = self.ids_of(prompts)
        vectors: list[Vector] = []
        waiting = deque(ids)
        while waiting:
            vectors += self._call(_next_call(waiting))
        return shaped(is_one, ids, vectors)

    def ids_of(self, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
        """Returns the token ids of each prompt, checked. Raises InvalidRequest, PromptTooLong, and NotSupported for an engine
        that makes text."""
        self._need_embedding()
        return [self._ids(prompt) for prompt in prompts]

    async def vectors(self, ids: Sequence[tuple[int, ...]]) -> list[Vector]:
        """Returns the vectors of checked prompts, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Vector]] = [loop.create_future() for _ in ids]
        self._waiting.extend(zip(ids, futures, strict=True))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._answer_all())
        return list(await asyncio.gather(*futures))

    async def _answer_all(self) -> None:
        while self._waiting:
            batch: list[tuple[tuple[int, ...], asyncio.Future[Vector]]] = []
            num_tokens = 0
            while self._waiting and (not batch or num_tokens + len(self._waiting[0][0]) <= CALL_TOKENS):
                ids, future = self._waiting.popleft()
                if not future.done():  # else its caller has left
                    batch.append((ids, future))
                    num_tokens += len(ids)
            try:
                vectors = await asyncio.to_thread(self._call, [ids for ids, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), vector in zip(batch, vectors, strict=True):
                if not future.done():
                    future.set_result(vector)

    def _call(self, ids: Sequence[tuple[int, ...]]) -> list[Vector]:
        rows: HiddenRows = self._handle.client.engine.encode([list(each) for each in ids])
        return list(np.frombuffer(rows.data, np.float32).reshape(-1, rows.width))

    def _need_embedding(self) -> None:
        if not self._handle.args.is_embedding:
            hint = "load the model with is_embedding=True (--is-embedding)"
            raise NotSupported("this engine makes text, no embeddings", hint=hint)

    def _ids(self, prompt: Prompt) -> tuple[int, ...]:
        info, cuts = self._handle.info, self._handle.args.allow_auto_truncate
        field = "prompt" if isinstance(prompt, str) else "input_ids"
        ids = self._handle.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
        room = min(info.context_length, info.max_total_num_tokens)
        if not ids:
            raise InvalidRequest(field, prompt, "at least one token")
        if bad := next((token for token in ids if not 0 <= token < info.vocab_size), None):
            raise InvalidRequest("input_ids", bad, f"a token id from 0 to {info.vocab_size - 1}")
        if len(ids) > room and not cuts:
            hint = "send less, or load with allow_auto_truncate=True"
            raise PromptTooLong(field, f"{len(ids)} tokens", f"at most {room} tokens", hint=hint)
        # A text keeps its last token, the one that the tokenizer puts at the end of every text.
        return (*ids[: room - 1], ids[-1]) if len(ids) > room else ids


def shaped(is_one: bool, ids: Sequence[tuple[int, ...]], vectors: Sequence[Vector]) -> Any:
    """Returns the results in the shape of the call."""
    results = [
        {"embedding": vector.tolist(), "meta_info": {"id": uuid.uuid4().hex, "prompt_tokens": len(each)}}
        for each, vector in zip(ids, vectors, strict=True)
    ]
    return results[0] if is_one else results


def _next_call(waiting: deque[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Takes prompts from the front, up to `CALL_TOKENS`."""
    taken = [waiting.popleft()]
    num_tokens = len(taken[0])
    while waiting and num_tokens + len(waiting[0]) <= CALL_TOKENS:
        taken.append(waiting.popleft())
        num_tokens += len(taken[-1])
    return taken
