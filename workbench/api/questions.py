"""What one may ask of an engine that runs: where a request's time went, what is stored, why a token was refused; and its views.

`Engine` is this and what makes text. Of an engine that has ended, all that the event log can answer is still answered.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property, lru_cache
from typing import Any

import psutil
from msgspec import structs

from workbench.client.answers import EngineInfo
from workbench.client.closed import Closed
from workbench.client.detail import DetailSwitch
from workbench.client.protocol import EngineClient
from workbench.config import ServerArgs
from workbench.errors import EngineDead, InvalidRequest, NotSupported
from workbench.events import EventLog
from workbench.grammar import Vocabulary
from workbench.text.readable import text_of
from workbench.text.tokenizer import Tokenizer
from workbench.types import GrammarSpec, as_int
from workbench.views.fold import Facts
from workbench.views.live import Source, open_view
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
FIT_LENGTHS = (256, 1024, 4096, 16384)


class Cache:
    """Questions to the prefix cache: `engine.cache.explain(prompt)`."""

    def __init__(self, engine: Questions) -> None:
        self._engine = engine

    def explain(self, prompt: str | Sequence[int], namespace: str = "") -> CacheAnswer:
        """What of this prompt would be reused now, and why no more: a dict that prints as a sentence. Changes nothing."""
        ids = self._engine._encode(prompt) if isinstance(prompt, str) else tuple(prompt)
        if not ids:
            raise InvalidRequest.because("prompt", "the prompt is empty", hint="cache.explain(text) needs some text")
        found = self._engine._client.engine.match_prefix(ids, namespace)
        return CacheAnswer(asdict(found), ids, text_of(self._engine.tokenizer))

    def node(self, node_id: int) -> NodeFacts:
        """One node of the radix tree: its text and tokens, who made it, who found it there, who holds it now."""
        return self._tree().node(node_id, self._engine._now())

    def search(self, text: str) -> list[int]:
        """The nodes of the radix tree that hold a text, to be asked about with `node`; capitals or not."""
        return self._tree().search(text)

    def evictions(self) -> EvictionJournal:
        """What left the cache, the newest first: who needed the space, how the policy scored it, whether it was wanted again."""
        return self._tree().evictions(self._engine._now())

    def _tree(self) -> TreeFold:
        source = self._engine._source
        if source.ended and source.log.read()[0] > 0:
            raise EngineDead(source.ended.splitlines()[0], hint="load it again; the event log no longer holds all of its tree")
        reader = Reader(source, TreeFold)
        reader.read()
        assert isinstance(reader.fold, TreeFold)
        return reader.fold


class Questions:
    """The half of `Engine` that changes no text."""

    server_args: ServerArgs
    log: EventLog
    tokenizer: Any
    """The Hugging Face tokenizer, where there is one."""
    detail: DetailSwitch
    by_magic = False
    """Whether `%wb load` opened it: its views then advise magics."""
    _client: EngineClient
    _tokenizer: Tokenizer | None
    _info: EngineInfo

    @property
    def cache(self) -> Cache:
        return Cache(self)

    def explain(self, rid: str) -> Explanation:
        """Where the time of this request went, in one sentence; its parts in `spans`."""
        return explain(self.log, rid, self._now(), text_of(self.tokenizer))

    def _now(self) -> float:
        """The engine's clock; of one that has ended, where it stood at the last event."""
        try:
            return self._client.engine.now()
        except EngineDead:
            events = self.log.read(self.log.num_added - 1)[1]
            return events[-1].time if events else 0.0

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

    def _step(self, rid: str, step: int | None) -> tuple[LoggedRequest, int]:
        """The constrained request, and `step` or the place after all that it has produced."""
        request = logged_request(self.log, rid)
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
        """A picture of the engine that moves: "tree" and what else `workbench.views.live.VIEWS` lists, each with its own options.

        In a kernel with anywidget a live widget, elsewhere (or with `live=False`) a still picture of the present moment.
        """
        return open_view(self._source, name, live=live, **options)

    @cached_property
    def _source(self) -> Source:
        """It holds no engine: one that nothing but views refer to ends."""
        alive, log = weakref.ref(self), self.log

        def client() -> EngineClient:
            return Closed(log) if (engine := alive()) is None else engine._client

        page_size = self.server_args.page_size
        facts = Facts(
            decode=text_of(self.tokenizer), model=str(self.server_args.model_path), page_size=page_size,
            num_pages=self._info.max_total_num_tokens // page_size, tokenizer=self.tokenizer,
            info=self.server_args.to_dict() | structs.asdict(self._info),
            grammar=None if self._tokenizer is None else self._grammar_of, by_magic=self.by_magic,
        )  # fmt: skip
        return Source(log, facts, client, self.detail)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        if self._tokenizer is None:
            raise NotSupported("constraints need the tokenizer", hint="load without skip_tokenizer_init")
        return Vocabulary(self._tokenizer.hf, self._info.vocab_size, self._tokenizer.eos_token_ids)

    def get_server_info(self) -> dict[str, Any]:
        """Arguments, what "auto" became, and how busy the engine is."""
        return self.server_args.to_dict() | structs.asdict(self._info) | structs.asdict(self._client.engine.get_load())

    def memory(self) -> dict[str, Any]:
        """The ledger: what holds bytes, what the KV pool is used for, how many requests of a length fit at once."""
        info, load = self._info, self._client.engine.get_load()
        per_token, capacity = info.kv_bytes_per_token, info.max_total_num_tokens
        lengths = [length for length in FIT_LENGTHS if length < info.context_length] + [info.context_length]
        return {
            "weights_bytes": info.weights_bytes, "kv_bytes_per_token": per_token, "kv_capacity_tokens": capacity,
            "kv_capacity_bytes": capacity * per_token, "kv_touched_bytes": load.kv_touched_tokens * per_token,
            "tokens_free": load.tokens_free, "tokens_tree": load.tokens_tree, "tokens_running": load.tokens_running,
            "process_rss_bytes": load.process_rss_bytes, "available_bytes": psutil.virtual_memory().available,
            "max_concurrency": {length: min(capacity // length, info.max_running_requests) for length in lengths},
        }  # fmt: skip

    def _encode(self, prompt: str) -> tuple[int, ...]:
        if self._tokenizer is None:
            raise NotSupported("this engine has no tokenizer (skip_tokenizer_init)", hint="send input_ids")
        return self._tokenizer.encode(prompt)
