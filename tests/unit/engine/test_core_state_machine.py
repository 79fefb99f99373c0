"""In any order of requests, aborts, flushes, drops and steps, every output equals a plain loop and every page returns."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.standins.random_runs import CONTEXT, TRUNK, VOCAB, open_core
from workbench.testing import plain_loop
from workbench.types import Request, SamplingParams

MAX_STEPS = 5000


@st.composite
def prompts(draw: st.DrawFn) -> tuple[int, ...]:
    shared = draw(st.integers(0, 24))
    own = draw(st.lists(st.integers(0, 2), min_size=0 if shared else 1, max_size=12))
    return (*TRUNK[:shared], *own)


asked = st.fixed_dictionaries(
    {
        "prompt": prompts(),
        "max_new": st.integers(0, 20),
        "namespace": st.sampled_from(["", "", "other"]),
        "priority": st.sampled_from([0, 0, 1]),
        "start": st.none() | st.integers(-1, 40),
    }
)
configs = st.fixed_dictionaries(
    {
        "page_size": st.sampled_from([1, 2, 4]),
        "num_tokens": st.sampled_from([CONTEXT, 72, 96, 400]),
        "chunked_prefill_size": st.sampled_from([1, 3, 8, -1]),
        "max_running_requests": st.sampled_from([1, 3, 64]),
        "enable_mixed_chunk": st.booleans(),
        "prefill_only_one_req": st.booleans(),
        "disable_radix_cache": st.sampled_from([False, False, False, True]),
        "schedule_policy": st.sampled_from(["lpm", "fcfs", "dfs-weight", "lof", "random"]),
        "eviction_policy": st.sampled_from(["lru", "lfu", "fifo"]),
        "schedule_conservativeness": st.sampled_from([0.02, 0.3, 1.0]),
        "drafts": st.sampled_from([None, 0, 1]),
    }
)


class EngineAgainstPlainLoop(RuleBasedStateMachine):
    @initialize(config=configs)
    def open(self, config: dict) -> None:
        self.core = open_core(config)
        self.requests: dict[str, Request] = {}
        self.outputs: dict[str, list[int]] = {}
        self.scored: dict[str, list[int]] = {}
        self.finished: dict[str, str] = {}
        self.aborted: set[str] = set()

    @rule(burst=st.lists(asked, min_size=1, max_size=8))
    def submit(self, burst: list[dict]) -> None:
        for asked in burst:
            rid, prompt, start = f"r{len(self.requests)}", asked["prompt"], asked["start"]
            request = Request(
                rid=rid, input_ids=prompt, params=SamplingParams(max_new_tokens=asked["max_new"]), namespace=asked["namespace"],
                priority=asked["priority"], return_logprob=start is not None,
                logprob_start_len=-1 if start is None else min(start, len(prompt)),
            )  # fmt: skip
            self.core.add(request)
            self.requests[rid], self.outputs[rid], self.scored[rid] = request, [], []

    @rule(count=st.integers(1, 4))
    def step(self, count: int) -> None:
        for _ in range(count):
            self._step()

    def _step(self) -> None:
        for out in self.core.step():
            assert out.rid not in self.finished, "nothing may follow the last output"
            self.outputs[out.rid] += out.token_ids
            self.scored[out.rid] += [entry.token_id for entry in out.prompt_logprobs]
            if out.finish is not None:
                self.finished[out.rid] = out.finish.type

    @rule(which=st.integers(0, 30))
    def abort(self, which: int) -> None:
        open_rids = [rid for rid in self.requests if rid not in self.finished and rid not in self.aborted]
        if open_rids:
            rid = open_rids[which % len(open_rids)]
            assert self.core.abort(rid)
            self.aborted.add(rid)

    @rule(often=st.integers(0, 3))
    def flush(self, often: int) -> None:
        if often:  # a tree that is always empty shares nothing
            return
        self.core.flush_cache()
        assert self.core.cache.tree.num_evictable_pages == 0

    @rule(often=st.integers(0, 5))
    def drop(self, often: int) -> None:
        if often:
            return
        self.core.drop_kv()
        cache = self.core.cache
        assert (len(cache.leases), cache.pool.num_free) == (0, cache.pool.num_pages), "nothing is left of the old weights"

    @invariant()
    def the_account_balances(self) -> None:
        if hasattr(self, "core"):
            self.core.cache.check()

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        for _ in range(MAX_STEPS):
            if not self.core.has_work:
                break
            self._step()
        assert not self.core.has_work, "the engine does not come to an end"
        self._check_outputs()
        cache = self.core.cache
        cache.check()
        assert not cache.leases
        assert cache.tree.num_pinned_pages == 0
        self.core.flush_cache()
        assert cache.pool.num_free == cache.pool.num_pages

    def _check_outputs(self) -> None:
        assert set(self.finished) == set(self.requests)
        for rid, request in self.requests.items():
            expected = plain_loop(request.input_ids, request.params.max_new_tokens, VOCAB)
            if rid in self.aborted:
                assert self.finished[rid] == "abort"
                assert self.outputs[rid] == expected[: len(self.outputs[rid])]
                continue
            assert self.finished[rid] == "length"
            assert self.outputs[rid] == expected
            start = request.logprob_start_len
            assert self.scored[rid] == ([] if start < 0 else list(request.input_ids[max(start, 1) :]))


TestEngineAgainstPlainLoop = EngineAgainstPlainLoop.TestCase
TestEngineAgainstPlainLoop.settings = settings(max_examples=60, stateful_step_count=40)
