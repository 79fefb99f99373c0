"""`Engine`: a language model to call from Python, in this process or in a child of it, with no server between.

Text in, text out; results are the dicts of the reference's native API. The engine runs on a thread of its own, so it
works in plain scripts, under a running event loop and in a notebook alike.
"""

from __future__ import annotations

import logging
import random
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property, lru_cache
from typing import Any

import psutil

from workbench.batch import Batch, make_batch
from workbench.client import Client, DetailSwitch, Stream, read, read_async
from workbench.config import DEFAULT_MODEL, ServerArgs
from workbench.constraint.answers import Why
from workbench.constraint.grammar import Grammar
from workbench.constraint.masks import MaskAt
from workbench.constraint.request import Constrained, constrained
from workbench.engine.explain import Explanation, explain
from workbench.errors import EngineDead, InvalidRequest, NotSupported
from workbench.grammar import Vocabulary
from workbench.kernels.openmp import share_cores
from workbench.lang.default import engine_opened
from workbench.model.folder import Progress
from workbench.model.progress import IMPORTING
from workbench.results import Collector
from workbench.types import GrammarSpec, Request, SamplingParams, as_int
from workbench.views.fold import Facts, text_of
from workbench.views.lookup import CacheAnswer
from workbench.views.tree import TreeFold
from workbench.views.tree_picture import NodeFacts
from workbench.widgets import Source, open_view
from workbench.widgets.feed import Reader

logger = logging.getLogger("workbench")
NUM_GRAMMARS = 16
FIT_LENGTHS = (256, 1024, 4096, 16384)


class TokenizerManager:
    """Row B14: `engine.tokenizer_manager.tokenizer` is the Hugging Face tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer


class Cache:
    """Questions to the prefix cache: `engine.cache.explain(prompt)`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def explain(self, prompt: str | Sequence[int], namespace: str = "") -> CacheAnswer:
        """What of this prompt would be reused now, and why no more: a dict that prints as a sentence. Changes nothing."""
        ids = self._engine._encode(prompt) if isinstance(prompt, str) else tuple(prompt)
        if not ids:
            raise InvalidRequest("prompt", prompt, "at least one token")
        found: dict[str, Any] = self._engine._client.call("lookup", list(ids), namespace)
        return CacheAnswer(found, ids, text_of(self._engine.tokenizer))

    def node(self, node_id: int) -> NodeFacts:
        """One node of the radix tree: its text and tokens, who made it, who found it there, who holds it now."""
        return self._tree().node(node_id)

    def search(self, text: str) -> list[int]:
        """The nodes of the radix tree that hold a text, to be asked about with `node`; capitals or not."""
        return self._tree().search(text)

    def _tree(self) -> TreeFold:
        reader = Reader(self._engine._source, TreeFold)
        reader.read()
        assert isinstance(reader.fold, TreeFold)
        return reader.fold


class Engine:
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
            from workbench.child import open_process as open_engine
        else:
            if progress is not None:
                progress(IMPORTING, 0, 0)
            share_cores()
            from workbench.launch import open_engine
        opened = open_engine(self.server_args, progress)
        self._client, self._tokenizer, self._info = opened.client, opened.tokenizer, opened.info
        self.log = self._client.log
        self.tokenizer = self._tokenizer.hf if self._tokenizer is not None else None
        self.tokenizer_manager = TokenizerManager(self.tokenizer)
        self.detail = DetailSwitch(self._client)
        self._seeds = random.Random(self._info["random_seed"])
        self._is_open = True
        self._dropped = weakref.finalize(self, _close_later, self._client)
        self._dropped.atexit = False  # at exit its thread or process ends anyway
        engine_opened(self)

    @property
    def cache(self) -> Cache:
        return Cache(self)

    @property
    def is_open(self) -> bool:
        return self._is_open

    # -- text ---------------------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str | Sequence[str] | None = None,
        sampling_params: Mapping[str, Any] | SamplingParams | Sequence[Mapping[str, Any] | SamplingParams] | None = None,
        *,
        input_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
        stream: bool = False,
        **options: Any,
    ) -> Any:
        """Continues one prompt (a dict comes back) or several (a list of dicts, in order).

        A result has `text`, `output_ids` and `meta_info`; with `n` above 1 each prompt gives a list of them. With
        `stream=True` an iterator of results comes back whose `text` is cumulative; several prompts carry an `index`.

        Options, each one value or one per prompt: `return_logprob`, `logprob_start_len` (first prompt position scored,
        -1 for none), `top_logprobs_num`, `token_ids_logprob`, `return_text_in_logprobs`, `rid`, `priority`,
        `timeout_s`, `namespace`, `custom_logit_processor`. Raises a `WorkbenchError` that names field, value and limit.
        """
        batch = self._batch(prompt, sampling_params, input_ids, options)
        streams = self._submit(batch)
        return self._watched(self._chunks(batch, streams), streams) if stream else self._results(batch, streams)

    async def async_generate(
        self, prompt: Any = None, sampling_params: Any = None, *, stream: bool = False, **options: Any
    ) -> Any:
        """`generate`, awaited. With `stream=True` the awaited value is an async iterator of results."""
        input_ids = options.pop("input_ids", None)
        batch = self._batch(prompt, sampling_params, input_ids, options)
        streams = self._submit(batch)
        if stream:
            return self._watched(self._async_chunks(batch, streams), streams)
        return await self._async_results(batch, streams)

    def chat(
        self, messages: Sequence[Mapping[str, Any]], sampling_params: Any = None, *, tools: Sequence[Any] | None = None,
        stream: bool = False, **options: Any,
    ) -> Any:  # fmt: skip
        """Answers a conversation (dicts with `role` and `content`) with the model's own chat template."""
        return self.generate(sampling_params=sampling_params, input_ids=self._chat_ids(messages, tools), stream=stream, **options)

    async def async_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        sampling_params: Any = None,
        *,
        tools: Sequence[Any] | None = None,
        **options: Any,
    ) -> Any:
        return await self.async_generate(sampling_params=sampling_params, input_ids=self._chat_ids(messages, tools), **options)

    def abort(self, rid: str) -> None:
        """Ends a request by its id, with `n` above 1 all its samples; pages come back within one step.

        Ids that are not running are ignored.
        """
        self._client.abort(rid)

    # -- questions ----------------------------------------------------------------------------------------------

    def flush_cache(self) -> int:
        """Drops every cached prefix that no request uses; the number of tokens dropped."""
        return self._client.call("flush_cache")

    def explain(self, rid: str) -> Explanation:
        """Where the time of this request went, in one sentence; its parts in `spans`."""
        return explain(self.log, rid, self._client.call("now"))

    def grammar(self, **constraint: Any) -> Grammar:
        """A constraint to ask questions of: `engine.grammar(regex=...)`, or `json_schema=`, `ebnf=`, `choices=`, ..."""
        return Grammar(tokenizer=self._vocabulary, backend=self.server_args.grammar_backend, **constraint)

    def why(self, rid: str, token: int | str, step: int | None = None) -> Why:
        """Whether the request's constraint allowed `token` (an id or a text) as its output token number `step`, and why not.

        Steps count from 0; without one, the place after all that the request has produced is meant.
        """
        request, step = self._step(rid, step)
        return self._grammar_of(request.spec).why_at_step(token, request.output_ids, step)

    def mask(self, rid: str, step: int | None = None) -> MaskAt:
        """What the request's constraint allowed as its output token number `step`: by class of token, by text, in words."""
        request, step = self._step(rid, step)
        return self._grammar_of(request.spec).mask_at(request.output_ids, step)

    def _step(self, rid: str, step: int | None) -> tuple[Constrained, int]:
        """The constrained request, and `step` or the place after all that it has produced."""
        request = constrained(self.log, rid)
        ids = request.output_ids
        if ids and step is None and ids[-1] in self._vocabulary.eos_token_ids:
            step = len(ids) - 1
        step = len(ids) if step is None else as_int("step", step)
        if not 0 <= step <= len(ids):
            raise InvalidRequest("step", step, f"between 0 and {len(ids)}: the request has {len(ids)} output tokens")
        return request, step

    @cached_property
    def _grammar_of(self) -> Callable[[GrammarSpec], Grammar]:
        """Grammars that were asked about, compiled once. Holds no engine."""
        vocabulary, backend = self._vocabulary, self.server_args.grammar_backend
        return lru_cache(NUM_GRAMMARS)(lambda spec: Grammar(spec=spec, tokenizer=vocabulary, backend=backend))

    def token_detail(self, on: bool = True) -> ExitStack:
        """Has each drawn token recorded with what the model thought of it: its probability and rank, the entropy, the
        likeliest alternatives before and after the mask, and the probability that the mask removed (`TokenSampled.detail`).

        It takes a pass over the logits, two under a constraint: about 1 and 2 ms for 32 requests, told as `cost_s`. Stays on
        until it is switched off, or to the end of the block in `with engine.token_detail():`. Views that show it switch it on
        themselves.
        """
        back = ExitStack()
        back.callback(self.detail.set, "caller", self.detail.is_held("caller"))
        self.detail.set("caller", on)
        return back

    def view(self, name: str, *, live: bool | None = None, **options: Any) -> Any:
        """A picture of the engine that moves: "tree" and what else `workbench.widgets.VIEWS` lists, each with its own options.

        In a kernel with anywidget a live widget, elsewhere (or with `live=False`) a still picture of the present moment.
        """
        return open_view(self._source, name, live=live, **options)

    @cached_property
    def _source(self) -> Source:
        """It holds no engine: one that nothing but views refer to ends."""
        alive, log = weakref.ref(self), self.log

        def client() -> Client:
            return _Closed(log) if (engine := alive()) is None else engine._client

        page_size = self.server_args.page_size
        facts = Facts(
            decode=text_of(self.tokenizer), model=str(self.server_args.model_path), page_size=page_size,
            num_pages=self._info["max_total_num_tokens"] // page_size, tokenizer=self.tokenizer, info=self._info,
            grammar=None if self._tokenizer is None else self._grammar_of,
        )  # fmt: skip
        return Source(log, facts, client, self.detail)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        if self._tokenizer is None:
            raise NotSupported("constraints need the tokenizer", hint="load without skip_tokenizer_init")
        return Vocabulary(self._tokenizer.hf, self._info["vocab_size"], self._tokenizer.eos_token_ids)

    def get_server_info(self) -> dict[str, Any]:
        """Arguments, what "auto" became, and how busy the engine is."""
        return self.server_args.to_dict() | self._info | self._client.call("load")

    def memory(self) -> dict[str, Any]:
        """The ledger: what holds bytes, what the KV pool is used for, how many requests of a length fit at once."""
        info, load = self._info, self._client.call("load")
        per_token, capacity = info["kv_bytes_per_token"], info["max_total_num_tokens"]
        lengths = [length for length in FIT_LENGTHS if length < info["context_length"]] + [info["context_length"]]
        return {
            "weights_bytes": info["weights_bytes"], "kv_bytes_per_token": per_token, "kv_capacity_tokens": capacity,
            "kv_capacity_bytes": capacity * per_token, "kv_touched_bytes": load["kv_touched_tokens"] * per_token,
            "tokens_free": load["tokens_free"], "tokens_tree": load["tokens_tree"], "tokens_running": load["tokens_running"],
            "process_rss_bytes": load["process_rss_bytes"], "available_bytes": psutil.virtual_memory().available,
            "max_concurrency": {length: min(capacity // length, info["max_running_requests"]) for length in lengths},
        }  # fmt: skip

    def shutdown(self) -> None:
        """Ends the engine: when this returns, its thread (or process) is gone and its memory is back. May be called twice.

        An engine that nothing refers to any more ends too, a moment later.
        """
        if self._is_open:
            self._is_open = False
            self._dropped.detach()
            client, self._client = self._client, _Closed(self.log)
            client.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    # -- requests -----------------------------------------------------------------------------------------------

    def _encode(self, prompt: str) -> tuple[int, ...]:
        if self._tokenizer is None:
            raise NotSupported("this engine has no tokenizer (skip_tokenizer_init)", hint="send input_ids")
        return self._tokenizer.encode(prompt)

    def _chat_ids(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None) -> tuple[int, ...]:
        if self._tokenizer is None:
            raise NotSupported("this engine has no tokenizer (skip_tokenizer_init)", hint="send input_ids")
        return self._tokenizer.chat_ids(messages, tools=tools)

    def _batch(self, prompt: Any, sampling_params: Any, input_ids: Any, options: dict[str, Any]) -> Batch:
        if (prompt is None) == (input_ids is None):
            raise InvalidRequest("prompt and input_ids", "both" if prompt is not None else "neither", "exactly one of them")
        return make_batch(prompt, input_ids, sampling_params, options, self._encode, self._limit_prompt, self._seeds)

    def _limit_prompt(self, ids: tuple[int, ...], params: SamplingParams) -> tuple[int, ...]:
        """With `allow_auto_truncate`, the last tokens of an over-long prompt that leave room for the output."""
        room = min(self._info["context_length"], self._info["max_total_num_tokens"]) - params.max_new_tokens
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


def _abort_unread(client: weakref.ref[Client], streams: list[Stream]) -> None:
    """Weak, so that a stream somebody keeps does not keep the model of an engine that was shut down."""
    if (alive := client()) is not None:
        for stream in streams:
            if not stream.is_finished:
                alive.abort(stream.rid)


def _close_later(client: Client) -> None:
    """The last reference may go on any thread, the engine's own included, and closing waits for that one."""
    threading.Thread(target=client.close, name="workbench-close", daemon=True).start()


class Runtime(Engine):
    """Row A43: the engine by the name that programs of the reference use. The one opened last is their default backend."""


class _Closed:
    """What an engine that was shut down answers."""

    ended = "the engine was shut down"

    def __init__(self, log: Any) -> None:
        self.log = log

    def submit(self, requests: Sequence[Request]) -> list[Stream]:
        raise EngineDead(self.ended, hint="load it again")

    def abort(self, rid: str, message: str = "") -> None:
        pass

    def close(self) -> None:
        pass

    def call(self, name: str, *args: Any) -> Any:
        if name == "now":
            return self.log.read()[1][-1].time if self.log.num_added else 0.0
        raise EngineDead(self.ended, hint="load it again")
