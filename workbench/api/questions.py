"""`Questions`: answers about an engine's requests, cache, constraints and memory.

Answers that need only the event log are available even after the engine has ended.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property, lru_cache
from typing import Any, TypedDict

from msgspec import structs

from workbench.api.handle import Handle
from workbench.checks import as_int
from workbench.client.closed import Closed
from workbench.client.detail import DetailSwitch
from workbench.client.protocol import EngineClient
from workbench.errors import EngineDead, InvalidRequest, NotSupported
from workbench.grammar import Vocabulary
from workbench.native.options import ConstraintOptions
from workbench.pictures.eyes import Eyes
from workbench.text.pictured import naming_pictures
from workbench.text.readable import text_of
from workbench.types import GrammarSpec
from workbench.views.advice import IN_PYTHON, ON_PAGE, Advice
from workbench.views.fold import Facts
from workbench.views.live import Source
from workbench.views.live.reader import Reader
from workbench.views.tree.fold import TreeFold
from workbench.views.tree.picture import NodeFacts
from workbench.why.constraint import Grammar
from workbench.why.prefix.answer import CacheAnswer
from workbench.why.prefix.evictions import EvictionJournal
from workbench.why.request.explanation import Explanation, explain
from workbench.why.token.answers import Why
from workbench.why.token.logged_request import LoggedRequest, logged_request
from workbench.why.token.mask import MaskAt

NUM_GRAMMARS = 16
"""Number of compiled constraints kept for questions."""
FIT_LENGTHS = (256, 1024, 4096, 16384)
"""Request lengths, in tokens, of `Memory.max_concurrency`; the context length is added."""


class Memory(TypedDict):
    """The memory of an engine."""

    weights_bytes: int
    kv_cache_dtype: str
    """Type in which keys and values are kept."""
    kv_bytes_per_token: int
    """Bytes of one token's keys and values in all layers, with their scales."""
    kv_capacity_tokens: int
    kv_capacity_bytes: int
    kv_touched_bytes: int
    """Bytes of the KV pool that have been written at least once: the operating system provides no others."""
    tokens_free: int
    tokens_tree: int
    """Tokens in the prefix cache, shared by running requests or not."""
    tokens_running: int
    """Tokens in the private pages of running requests."""
    process_rss_bytes: int
    available_bytes: int
    """Free memory of the machine."""
    max_concurrency: dict[int, int]
    """Number of requests that fit at once, by their length in tokens."""


class Questions:
    """Reads answers from the engine, between two steps, and from its event log. Changes nothing in the engine."""

    def __init__(self, handle: Handle, advice: Advice = IN_PYTHON) -> None:
        self._handle = handle
        self.detail = DetailSwitch(handle.client)
        self.advice = advice
        """Words of the views for what their reader may do next, settled when the first one opens."""

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer; None where the engine has none."""
        return self._handle.hf_tokenizer

    def explain(self, rid: str) -> Explanation:
        return explain(self._handle.log, rid, self.now(), self._decode)

    def now(self) -> float:
        """Returns the engine's clock in seconds; after the engine has ended, the time of its last event."""
        try:
            return self._handle.client.engine.now()
        except EngineDead:
            log = self._handle.log
            events = log.read(log.num_added - 1)[1]
            return events[-1].time if events else 0.0

    # -- constraints --------------------------------------------------------------------------------------------

    def grammar(self, constraint: ConstraintOptions) -> Grammar:
        return Grammar(tokenizer=self._vocabulary, backend=self._handle.args.grammar_backend, **constraint)

    def why(self, rid: str, token: int | str, step: int | None) -> Why:
        request, step = self._step(rid, step)
        return self._grammar_of(request.spec).why_at_step(token, request.output_ids, step)

    def mask(self, rid: str, step: int | None) -> MaskAt:
        request, step = self._step(rid, step)
        return self._grammar_of(request.spec).mask_at(request.output_ids, step)

    def _step(self, rid: str, step: int | None) -> tuple[LoggedRequest, int]:
        """Returns the constrained request and `step`, which is the position after the whole output if it is None."""
        request = logged_request(self._handle.log, rid)
        ids = request.output_ids
        if ids and step is None and ids[-1] in self._vocabulary.eos_token_ids:
            step = len(ids) - 1
        step = len(ids) if step is None else as_int("step", step)
        if not 0 <= step <= len(ids):
            raise InvalidRequest("step", step, f"between 0 and {len(ids)}: the request has {len(ids)} output tokens")
        return request, step

    @cached_property
    def _grammar_of(self) -> Callable[[GrammarSpec], Grammar]:
        """Function that compiles constraints and keeps the last ones. It has no reference to the engine."""
        vocabulary, backend = self._vocabulary, self._handle.args.grammar_backend
        return lru_cache(NUM_GRAMMARS)(lambda spec: Grammar(spec=spec, tokenizer=vocabulary, backend=backend))

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        handle = self._handle
        if not handle.has_tokenizer:
            raise NotSupported("constraints need the tokenizer", hint="load without skip_tokenizer_init")
        return Vocabulary(handle.hf_tokenizer, handle.info.vocab_size, handle.tokenizer.eos_token_ids)

    # -- the cache ----------------------------------------------------------------------------------------------

    def match_prefix(self, prompt: str | Sequence[int], namespace: str) -> CacheAnswer:
        ids = self._handle.tokenizer.encode(prompt) if isinstance(prompt, str) else tuple(prompt)
        if not ids:
            raise InvalidRequest.because("prompt", "the prompt is empty", hint="cache.explain(text) needs some text")
        found = self._handle.client.engine.match_prefix(ids, namespace)
        return CacheAnswer(asdict(found), ids, self._decode)

    def tree(self) -> TreeFold:
        """Returns the present radix tree. Raises EngineDead if the engine has ended and its log lacks its first events."""
        source = self.source
        if source.ended and source.log.read()[0] > 0:
            raise EngineDead(source.ended.splitlines()[0], hint="load it again; the event log no longer holds all of its tree")
        reader = Reader(source, TreeFold)
        reader.read()
        assert isinstance(reader.fold, TreeFold)
        return reader.fold

    # -- state --------------------------------------------------------------------------------------------------

    def token_detail(self, on: bool) -> ExitStack:
        back = ExitStack()
        back.callback(self.detail.set, "caller", self.detail.is_held("caller"))
        self.detail.set("caller", on)
        return back

    def server_info(self) -> dict[str, Any]:
        handle = self._handle
        load = handle.client.engine.get_load()
        return handle.args.to_dict() | structs.asdict(handle.info) | structs.asdict(load)

    def measure_bandwidth(self) -> float:
        return self._handle.client.engine.measure_bandwidth()

    def memory(self) -> Memory:
        info, load = self._handle.info, self._handle.client.engine.get_load()
        per_token, capacity = info.kv_bytes_per_token, info.max_total_num_tokens
        lengths = [length for length in FIT_LENGTHS if length < info.context_length] + [info.context_length]
        return {
            "weights_bytes": info.weights_bytes, "kv_cache_dtype": info.kv_cache_dtype, "kv_bytes_per_token": per_token,
            "kv_capacity_tokens": capacity,
            "kv_capacity_bytes": capacity * per_token, "kv_touched_bytes": load.kv_touched_tokens * per_token,
            "tokens_free": load.tokens_free, "tokens_tree": load.tokens_tree, "tokens_running": load.tokens_running,
            "process_rss_bytes": load.process_rss_bytes, "available_bytes": load.available_bytes,
            "max_concurrency": {length: min(capacity // length, info.max_running_requests) for length in lengths},
        }  # fmt: skip

    @cached_property
    def source(self) -> Source:
        """The source of the engine's views. Its reference to the engine is weak: views alone keep no engine in memory."""
        handle = self._handle
        alive, log = weakref.ref(handle), handle.log

        def client() -> EngineClient:
            return Closed(log) if (running := alive()) is None else running.client

        def eyes() -> Eyes:
            if (running := alive()) is None:
                raise EngineDead("the engine has ended")
            return running.eyes

        page_size = handle.args.page_size
        facts = Facts(
            decode=self._decode, model=handle.args.model_path, page_size=page_size,
            num_pages=handle.info.max_total_num_tokens // page_size, tokenizer=handle.hf_tokenizer,
            info=handle.args.to_dict() | structs.asdict(handle.info),
            grammar=self._grammar_of if handle.has_tokenizer else None, eyes=eyes if handle.sees else None, advice=self.advice,
        )  # fmt: skip
        return Source(log, facts, client, self.detail, handle.epoch)

    @cached_property
    def page_source(self) -> Source:
        """The source for the page of a server, whose readers have no Python."""
        return self.source.advised(ON_PAGE)

    @cached_property
    def _decode(self) -> Callable[[Sequence[int]], str]:
        return naming_pictures(text_of(self._handle.hf_tokenizer))


class Cache:
    """Questions about the prefix cache: `engine.cache.explain(prompt)`."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    def explain(self, prompt: str | Sequence[int], namespace: str = "") -> CacheAnswer:
        """Returns the part of a prompt (text or token ids) that the cache would reuse now, and the reason why not more.

        The answer is a dict that prints as a sentence. Changes nothing in the cache. Raises InvalidRequest for an empty
        prompt, EngineDead once the engine has ended.
        """
        return self._questions.match_prefix(prompt, namespace)

    def node(self, node_id: int) -> NodeFacts:
        """Returns one node of the radix tree: its text, its tokens, the request that made it, and the requests that use it.

        Raises InvalidRequest for an id that is not in the tree.
        """
        return self._questions.tree().node(node_id, self._questions.now())

    def search(self, text: str) -> list[int]:
        """Returns the ids of the nodes that contain a text, upper and lower case alike; `node` takes such an id."""
        return self._questions.tree().search(text)

    def evictions(self) -> EvictionJournal:
        """Returns the evicted nodes, the newest first, each with the request that needed the space, the policy's score, and
        whether its text was computed again."""
        return self._questions.tree().evictions(self._questions.now())
