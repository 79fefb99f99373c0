"""A reader that fell behind a small log has the engine's present state, and the part of the past that the log still holds."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from random_runs import CONFIGS, OPERATIONS, facts, open_core, perform

from workbench.engine.core import EngineCore
from workbench.engine.snapshot import snapshot
from workbench.events import EventLog, RequestArrived, StepExecuted
from workbench.types import Request, SamplingParams
from workbench.views.batch.fold import BatchFold
from workbench.views.live import Source
from workbench.views.live.reader import Reader
from workbench.views.throughput.fold import ThroughputFold


def reader_of(core: EngineCore, make) -> Reader:
    client = SimpleNamespace(ended="", engine=SimpleNamespace(snapshot=lambda: snapshot(core)))
    return Reader(Source(core.log, facts(core), lambda: client), make)


@settings(max_examples=150)
@given(CONFIGS, OPERATIONS, st.integers(6, 60), st.integers(1, 20))
def test_batch_and_throughput_show_the_present_and_the_past_that_is_left(config, operations, capacity, every):
    core = open_core(config, EventLog(capacity))
    batch, rates = reader_of(core, BatchFold), reader_of(core, ThroughputFold)
    num_moves = 0

    def now_and_then() -> None:
        nonlocal num_moves
        num_moves += 1
        if num_moves % every:
            return
        first_held = core.log.num_added - capacity
        fell_behind = first_held > batch.number
        batch.read()
        rates.read()
        assert (batch.failure, rates.failure) == ("", "")
        running = {seq.rid for seq in core.scheduler.running}
        waiting = {seq.rid for seq in core.scheduler.waiting}
        assert {life.rid for life in batch.fold.running} == running
        assert {life.rid for life in batch.fold.waiting} == waiting
        assert {life.rid: life.num_output for life in batch.fold.running} == {
            seq.rid: len(seq.output_ids) for seq in core.scheduler.running
        }
        if fell_behind:
            events = core.log.read()[1]
            steps = [event for event in events if isinstance(event, StepExecuted)]
            numbers = [step.number for step in batch.fold.steps]  # each reader's snapshot pushed an event out
            assert [step.step for step in steps] == numbers[len(numbers) - len(steps) :]
            for rid in running & {event.rid for event in events if isinstance(event, RequestArrived)}:
                told = sum(member.num_new for step in steps for member in step.members if member.rid == rid)
                assert sum(part.num_tokens for part in batch.fold.request(rid).stretches) == told
            pool, tree = core.cache.pool, core.cache.tree
            series = rates.fold.series()
            last = {name: column[-1] for name, column in series.items()}
            assert (last["running"], last["waiting"]) == (len(running), len(waiting))
            assert (last["pages_free"], last["pages_tree"]) == (pool.num_free, tree.num_pages)

    perform(core, operations, now_and_then)


def test_a_throughput_view_of_an_engine_at_rest_whose_log_holds_no_step_knows_the_memory():
    core = open_core({"page_size": 1, "num_tokens": 400}, EventLog(5))
    perform(core, [("add", 20, [1], 4, "")])
    for rid in "abcdef":
        core.add(Request(rid=rid, input_ids=(1, 2), params=SamplingParams(max_new_tokens=4)))
        core.abort(rid)
    assert not any(isinstance(event, StepExecuted) for event in core.log.read()[1])
    rates = reader_of(core, ThroughputFold)
    rates.read()
    tree, pool = core.cache.tree.num_pages, core.cache.pool
    assert tree == 24
    assert {name: rates.fold.series()[name][-1] for name in ("pages_free", "pages_tree", "pages_owned")} == {
        "pages_free": pool.num_free, "pages_tree": tree, "pages_owned": 0,
    }  # fmt: skip
