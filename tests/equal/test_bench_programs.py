"""The programs of `make bench-peers`, counted in the steps of the engine: each prefix is computed once."""

from __future__ import annotations

from dataclasses import replace

import pytest

import workbench
from workbench.bench.programs import JOBS, do
from workbench.events import StepExecuted

FEWER = {"fork": 8, "batch": 12, "select": 10}


@pytest.fixture(scope="module")
def engine():
    with workbench.Engine(dtype="float32") as engine:
        yield engine


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
def test_the_prefix_of_a_program_is_computed_once(engine, job):
    work = replace(job, num_items=FEWER[job.kind], new_tokens=min(job.new_tokens, 4)).work(seed=0)

    def length(text: str) -> int:
        return len(engine.tokenizer.encode(text))

    prefix = length(work.prefix)
    own = sum(length(work.prefix + item) - prefix for item in work.items)
    # Each option is a request of its own, as is the question alone: they score the last two tokens again.
    options = (sum(map(length, work.options)) + 3 * (len(work.options) + 1)) * len(work.items) if work.options else 0
    engine.flush_cache()
    before = engine.log.num_added
    done = do(work, engine)

    steps = [event for event in engine.log.read(before)[1] if isinstance(event, StepExecuted)]
    computed = sum(member.num_new for step in steps for member in step.members if member.kind == "prefill")
    # Items may begin alike ("\n1", "\n10"), and the last token of a prompt is computed to continue from it.
    assert prefix + own - 3 * len(work.items) <= computed <= prefix + own + options + len(work.items)
    if work.options:
        assert len(done["choices"]) == len(work.items)
    else:
        assert done["num_tokens"] == [work.new_tokens] * len(work.items)
