"""`Engine`: a language model to call from Python, in this process or in a child of it, with no server between.

Text in, text out; results are the dicts of the reference's native API. The engine runs on a thread of its own, so it
works in plain scripts, under a running event loop and in a notebook alike.
"""

from __future__ import annotations

import logging
import random
import threading
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from workbench.api.questions import Questions
from workbench.client.closed import Closed
from workbench.client.detail import DetailSwitch
from workbench.client.protocol import EngineClient
from workbench.client.stream import Stream, read, read_async
from workbench.config import DEFAULT_MODEL, ServerArgs
from workbench.errors import InvalidRequest, NotSupported
from workbench.hub.progress import IMPORTING, Progress
from workbench.kernels.openmp import share_cores
from workbench.lang.backends.engine import EngineBackend
from workbench.lang.default import engine_opened
from workbench.native.requests import Batch, make_batch
from workbench.native.results import Collector, json_values
from workbench.types import SamplingParams

logger = logging.getLogger("workbench")


class TokenizerManager:
    """Row B14: `engine.tokenizer_manager.tokenizer` is the Hugging Face tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer


class Engine(Questions):
    """A model, loaded. Keywords are the fields of `ServerArgs`; `process=True` puts it into a child process.

    `progress(what, done, total)` is called while it loads; the total is 0 where nobody knows it.

    >>> with workbench.Engine() as engine:
    ...     engine.generate("The capital of France is", {"max_new_tokens": 8, "temperature": 0})["text"]
    """

    def __init__(
        self, model_path: str = DEFAULT_MODEL, *, process: bool = False, progress: Progress | None = None, **server_args: Any
    ) -> None:
        self.server_args = ServerArgs.make(model_path=model_path, **server_args)
        if process:
            from workbench.process.client import open_process as open_engine
        else:
            if progress is not None:
                progress(IMPORTING, 0, 0)
            share_cores()
            from workbench.launch.engine import open_engine
        opened = open_engine(self.server_args, progress)
        self._client, self._tokenizer, self._info = opened.client, opened.tokenizer, opened.info
        self.log = self._client.log
        self.tokenizer = self._tokenizer.hf if self._tokenizer is not None else None
        self.tokenizer_manager = TokenizerManager(self.tokenizer)
        self.detail = DetailSwitch(self._client)
        self._seeds = random.Random(self._info.random_seed)
        self._is_open = True
        self._dropped = weakref.finalize(self, _close_later, self._client)
        self._dropped.atexit = False  # at exit its thread or process ends anyway
        engine_opened(self)

    @property
    def is_open(self) -> bool:
        return self._is_open

    # -- text ---------------------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str | Sequence[str] | None = None,
        sampling_params: Mapping[str, Any] | SamplingParams | Sequence[Mapping[str, Any] | SamplingParams] | None = None,
        input_ids: Any = None,
        *,
        stream: bool = False,
        **options: Any,
    ) -> Any:
        """Continues one prompt (a dict comes back) or several (a list of dicts, in order).

        `input_ids` in the place of a prompt are token ids, or what a tokenizer returns. Sampling parameters are those of
        `workbench.SamplingParams` (`max_new_tokens`, which may be called `max_tokens`, `temperature`, `top_p`, `stop`,
        `seed`, `n`, `regex`, `json_schema`, ...): a dict, one per prompt, or keywords: `generate("Once", temperature=0)`.

        A result has `text` (without a tokenizer `token_ids`), `output_ids` and `meta_info`; with `n` above 1 each prompt gives
        a list of them. With `stream=True` an iterator of results comes back whose `text` is cumulative; several prompts carry
        an `index`.

        Options, each one value or one per prompt: `return_logprob`, `logprob_start_len` (first prompt position scored,
        -1 for none), `top_logprobs_num`, `token_ids_logprob`, `return_text_in_logprobs`, `return_hidden_states`, `rid`,
        `priority`, `timeout_s`, `namespace`, `custom_logit_processor`.
        Raises a `WorkbenchError` that names field, value and limit.
        """
        batch = self._batch(prompt, sampling_params, input_ids, options)
        streams = self._submit(batch)
        return self._watched(self._chunks(batch, streams), streams) if stream else self._results(batch, streams)

    async def async_generate(
        self, prompt: Any = None, sampling_params: Any = None, input_ids: Any = None, *, stream: bool = False, **options: Any
    ) -> Any:
        """`generate`, awaited. With `stream=True` the awaited value is an async iterator of results."""
        batch = self._batch(prompt, sampling_params, input_ids, options)
        streams = self._submit(batch)
        if stream:
            return self._watched(self._async_chunks(batch, streams), streams)
        return await self._async_results(batch, streams)

    def generate_json(self, prompt: Any, schema: Any, sampling_params: Any = None, **options: Any) -> Any:
        """Continues a prompt with JSON of this schema (a dict, JSON text or a Pydantic model) and returns its value.

        Of a Pydantic model the value is an instance. Several prompts, and `n` above 1, give lists. Raises InvalidRequest
        where the tokens did not suffice (`max_new_tokens`, 128 where not given). Options as in `generate`.
        """
        if options.get("stream"):
            raise InvalidRequest.because("stream", "JSON has a value when it is whole", hint="generate(stream=True) has its text")
        return json_values(self.generate(prompt, sampling_params, json_schema=schema, **options), schema)

    def chat(
        self, messages: Sequence[Mapping[str, Any]], sampling_params: Any = None, *, tools: Sequence[Any] | None = None,
        stream: bool = False, **options: Any,
    ) -> Any:  # fmt: skip
        """Answers a conversation (dicts with `role` and `content`) in the model's own chat template.

        `tools` are descriptions of functions, for a template that tells the model of them; all else is as in `generate`.
        """
        return self.generate(sampling_params=sampling_params, input_ids=self._chat_ids(messages, tools), stream=stream, **options)

    async def async_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        sampling_params: Any = None,
        *,
        tools: Sequence[Any] | None = None,
        **options: Any,
    ) -> Any:
        """`chat`, awaited."""
        return await self.async_generate(sampling_params=sampling_params, input_ids=self._chat_ids(messages, tools), **options)

    def abort(self, rid: str) -> None:
        """Ends a request by its id, with `n` above 1 all its samples; pages come back within one step.

        Ids that are not running are ignored.
        """
        self._client.abort(rid)

    def flush_cache(self) -> int:
        """Drops every cached prefix that no request uses; the number of tokens dropped."""
        return self._client.engine.flush_cache()

    def shutdown(self) -> None:
        """Ends the engine: when this returns, its thread (or process) is gone and its memory is back. May be called twice.

        An engine that nothing refers to any more ends too, a moment later.
        """
        if self._is_open:
            self._is_open = False
            self._dropped.detach()
            client, self._client = self._client, Closed(self.log)
            client.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    # -- requests -----------------------------------------------------------------------------------------------

    def _chat_ids(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None) -> tuple[int, ...]:
        if self._tokenizer is None:
            raise NotSupported("this engine has no tokenizer (skip_tokenizer_init)", hint="send input_ids")
        return self._tokenizer.chat_ids(messages, tools=tools)

    def _batch(self, prompt: Any, sampling_params: Any, input_ids: Any, options: dict[str, Any]) -> Batch:
        if self.server_args.return_hidden_states and options.get("return_hidden_states") is None:
            options = options | {"return_hidden_states": True}
        return make_batch(prompt, input_ids, sampling_params, options, self._encode, self._limit_prompt, self._seeds)

    def _limit_prompt(self, ids: tuple[int, ...], params: SamplingParams) -> tuple[int, ...]:
        """With `allow_auto_truncate`, the last tokens of an over-long prompt that leave room for the output."""
        room = min(self._info.context_length, self._info.max_total_num_tokens) - params.max_new_tokens
        return ids[-room:] if self.server_args.allow_auto_truncate and 0 < room < len(ids) else ids

    def _submit(self, batch: Batch) -> list[Stream]:
        if self.server_args.log_requests:
            for request in batch.requests:
                logger.warning("request %s: %d tokens, %s", request.rid, len(request.input_ids), request.params)
        return self._client.submit(batch.requests)

    def _collectors(self, batch: Batch) -> list[Collector]:
        name = None if self._tokenizer is None else self._tokenizer.token_text
        return [
            Collector(request, name_token=name if with_text else None, has_text=name is not None)
            for request, with_text in zip(batch.requests, batch.with_text, strict=True)
        ]

    def _results(self, batch: Batch, streams: list[Stream]) -> Any:
        collectors = self._collectors(batch)
        with self._aborting(streams):
            for i, out in read(streams):
                collectors[i].add(out)
        return batch.shape([self._logged(collector) for collector in collectors])

    async def _async_results(self, batch: Batch, streams: list[Stream]) -> Any:
        collectors = self._collectors(batch)
        with self._aborting(streams):
            async for i, out in read_async(streams):
                collectors[i].add(out)
        return batch.shape([self._logged(collector) for collector in collectors])

    def _logged(self, collector: Collector) -> dict[str, Any]:
        result = collector.result()
        if self.server_args.log_requests:
            logger.warning("result %s: %r", result["meta_info"]["id"], result.get("text", result["output_ids"]))
        return result

    def _chunks(self, batch: Batch, streams: list[Stream]) -> Iterator[dict[str, Any]]:
        collectors = self._collectors(batch)
        with self._aborting(streams):
            for i, out in read(streams):
                collectors[i].add(out)
                if collectors[i].is_due(self.server_args.stream_interval):
                    yield batch.chunk(collectors[i].result(), i)

    async def _async_chunks(self, batch: Batch, streams: list[Stream]) -> AsyncIterator[dict[str, Any]]:
        collectors = self._collectors(batch)
        with self._aborting(streams):
            async for i, out in read_async(streams):
                collectors[i].add(out)
                if collectors[i].is_due(self.server_args.stream_interval):
                    yield batch.chunk(collectors[i].result(), i)

    def _aborting(self, streams: list[Stream]) -> ExitStack:
        """Leaving the block with unread streams (an interrupt, an error, a closed generator) aborts their requests."""
        stack = ExitStack()
        stack.callback(_abort_unread, weakref.ref(self._client), streams)
        return stack

    def _watched(self, chunks: Any, streams: list[Stream]) -> Any:
        """A generator that is dropped before its first step runs none of its own code, so its end is watched from outside."""
        weakref.finalize(chunks, _abort_unread, weakref.ref(self._client), streams).atexit = False
        return chunks


def _abort_unread(client: weakref.ref[EngineClient], streams: list[Stream]) -> None:
    """Weak, so that a stream somebody keeps does not keep the model of an engine that was shut down."""
    if (alive := client()) is not None:
        for stream in streams:
            if not stream.is_finished:
                alive.abort(stream.rid)


def _close_later(client: EngineClient) -> None:
    """The last reference may go on any thread, the engine's own included, and closing waits for that one."""
    threading.Thread(target=client.close, name="workbench-close", daemon=True).start()


class Runtime(Engine):
    """Row A43: the engine by the name that programs of the reference use. The one opened last is their default backend."""

    @cached_property
    def endpoint(self) -> EngineBackend:
        """The backend that it is for programs, whose `chat_template` may be set."""
        return EngineBackend(self)

    def get_tokenizer(self) -> Any:
        return self.tokenizer

    def cache_prefix(self, prefix: str) -> None:
        """Computes a text that later prompts begin with."""
        self.generate(prefix, max_new_tokens=0)
