"""Moments of a log, and the answers that a recording holds."""

from __future__ import annotations

import pytest
from random_runs import facts, squeezed

from workbench.events import StepExecuted
from workbench.views.live import Source
from workbench.views.live.opening import open_reader
from workbench.views.recorded.replay import Moment, moments_of, name_of, replay
from workbench.views.tree.fold import TreeFold


@pytest.fixture(scope="module")
def core():
    return squeezed()


def test_a_moment_is_the_end_of_a_step_or_of_the_log(core):
    _, events = core.log.read()
    moments = moments_of(events, 10_000)
    ends = [i + 1 for i, event in enumerate(events) if isinstance(event, StepExecuted)]
    assert [moment.num_events for moment in moments] == sorted({*ends, len(events)})
    assert moments[-1].seconds == pytest.approx(events[-1].time - events[0].time)
    assert moments_of([], 5) == [Moment(0, 0.0, 0)]


def test_of_many_moments_the_first_and_the_last_stay(core):
    _, events = core.log.read()
    every, few = moments_of(events, 10_000), moments_of(events, 5)
    assert len(every) > 5 == len(few)
    assert [few[0], few[-1]] == [every[0], every[-1]]


def test_the_answer_about_a_node_changes_with_the_node_and_ends_with_it(core):
    source = Source(core.log, facts(core), lambda: None)
    _, events = core.log.read()
    moments = moments_of(events, 10_000)
    tape = replay(open_reader(source, "tree", {}), events, moments)
    gone = [(name, changes) for name, changes in tape["answers"].items() if "error" in str(changes[-1][1])]
    assert gone, "the run evicts nodes"
    name, changes = gone[0]
    fold = TreeFold(facts(core))
    for event in events[: moments[changes[0][0]].num_events]:
        fold.apply(event)
    assert changes[0][1][0]["text"] == fold.node(int(name.removeprefix("id="))).text
    assert changes[-1][1]["set"] == {"error": [f"this is not there at this moment: {name.replace('=', ' ')}"]}
    assert set(changes[-1][1]["drop"]) == changes[0][1][0].keys()


def test_a_message_has_one_name_in_any_order():
    assert name_of({"why": 7, "id": ["r1", 3]}) == "id=r1,3&why=7"
    assert name_of({"evictions": True}) == "evictions=true"
