"""Throughput and memory: the sums are those of the run, and the recompute tax counts every token that was computed twice."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from random_runs import CONFIGS, OPERATIONS, open_core, perform, squeezed

from workbench.errors import InvalidRequest
from workbench.events import (
    NodeAdded,
    PagesTaken,
    PathHeld,
    PrefixMatched,
    RequestRetracted,
    StepExecuted,
    StepMember,
    TokenSampled,
)
from workbench.views.throughput.fold import NUM_POINTS, ThroughputFold


def folded(events, window_s: float = 60.0) -> ThroughputFold:
    throughput = ThroughputFold(window=window_s)
    for event in events:
        throughput.apply(event)
    return throughput


def computed_again(events) -> int:
    """Counts recomputed tokens by a set of all (request, position) that were ever computed."""
    seen, again = set(), 0
    for event in events:
        if isinstance(event, StepExecuted):
            for member in event.members:
                places = {(member.rid, i) for i in range(member.num_cached, member.num_cached + member.num_new)}
                again += len(places & seen)
                seen |= places
    return again


def rates(events, throughput: ThroughputFold, num_points: int) -> list[float]:
    """Returns the tokens of the last second before the end of each point, or since the first point if that is less."""
    width = throughput.width_s
    at = [int(event.time / width) for event in events if isinstance(event, TokenSampled)]
    first = min(int(event.time / width) for event in events if not isinstance(event, PagesTaken | NodeAdded | PathHeld))
    per_second = round(1 / width)
    found = []
    for last in range(first, first + num_points):
        points = range(max(first, last - per_second + 1), last + 1)
        found.append(sum(i in points for i in at) / (len(points) * width))
    return found


@settings(max_examples=100)
@given(CONFIGS, OPERATIONS)
def test_after_any_run_the_sums_are_those_of_the_engine(config, operations):
    core = open_core(config)
    perform(core, operations)
    events = core.log.read()[1]
    throughput = folded(events)
    totals = throughput.totals
    num_computed = core.runner.num_computed
    assert totals.computed == num_computed or (config["drafts"] is not None and totals.computed < num_computed)
    assert totals.output == sum(isinstance(event, TokenSampled) for event in events)
    assert totals.num_retractions == core.scheduler.num_retractions
    assert totals.recomputed == computed_again(events)
    matched = [event for event in events if isinstance(event, PrefixMatched)]
    assert (totals.prompt, totals.cached) == (sum(e.num_prompt for e in matched), sum(e.num_cached for e in matched))
    told = throughput.picture().to_dict()
    assert throughput.state() == {"title": told["title"], "facts": told["facts"]}
    series = throughput.series()
    if series["t"]:
        assert series["output"] == pytest.approx(rates(events, throughput, len(series["t"])), abs=0.1)
        assert (series["running"][-1], series["waiting"][-1]) == (0, 0)
    if totals.num_steps:
        last = [event for event in events if isinstance(event, StepExecuted)][-1]
        pages = [series[name][-1] for name in ("pages_free", "pages_tree", "pages_owned")]
        assert pages == [last.pages_free, last.pages_tree, last.pages_owned]
        assert sum(pages) == core.config.num_pages


def test_a_squeezed_run_has_a_tax_and_says_so():
    core = squeezed()
    picture = folded(core.log.read()[1], window_s=6.0).picture()
    assert picture.totals.num_retractions == 2
    assert picture.totals.recomputed > 0
    assert f"{picture.totals.recompute_tax:.1%}" in picture.to_text()
    assert f"{picture.totals.recompute_tax:.1%}" in picture.to_html()


def test_the_picture_is_still_and_loads_nothing():
    html = folded(squeezed().log.read()[1], window_s=6.0).picture().to_html()
    assert html.count("<svg") == html.count("</svg>") == 4
    assert not re.search(r"<script|http|url\(|NaN|None|inf", html)


def test_the_series_has_no_holes_and_is_bounded_however_long_it_lasts():
    events = [TokenSampled(time=at, rid="a", token_id=1, position=0) for at in (0.0, 0.1, 10.0, 1000.0, 1000.1)]
    throughput = folded(events, window_s=24.0)
    series = throughput.series()
    assert {len(column) for column in series.values()} == {len(series["t"])}
    assert len(series["t"]) <= NUM_POINTS
    steps = [b - a for a, b in zip(series["t"], series["t"][1:], strict=False)]
    assert steps == pytest.approx([throughput.width_s] * len(steps))
    few = folded(events[:3], window_s=24.0).series()["output"]
    assert few[:2] == [10.0, 10.0]  # one token in the first tenth of a second, the whole run so far; then two in two
    assert (few[9], few[10], few[11], few[-1]) == (2.0, 1.0, 0.0, 1.0)


def test_nothing_yet_is_shown_as_such():
    picture = ThroughputFold().picture()
    assert "no prompt yet" in picture.to_text()
    assert "no prompt yet" in picture.to_html()
    assert "<svg" not in picture.to_html()


@pytest.mark.parametrize("window", [0, -1, float("nan"), float("inf"), "long", None])
def test_a_window_that_is_none_is_refused(window):
    with pytest.raises(InvalidRequest, match="window"):
        ThroughputFold(window=window)


def test_a_request_that_is_retracted_again_while_it_catches_up_is_counted_to_the_end():
    def step(number: int, num_cached: int, num_new: int) -> StepExecuted:
        pages = {"pages_free": 1, "pages_tree": 0, "pages_owned": 0}
        members = (StepMember("a", num_cached, num_new, "prefill"),)
        times = {"plan_s": 0.0, "execute_s": 0.1, "commit_s": 0.0}
        return StepExecuted(time=number, step=number, members=members, budget_left=0, num_waiting=0, **times, **pages)

    def retracted(time: float, num_lost: int) -> RequestRetracted:
        return RequestRetracted(time=time, rid="a", num_output=0, num_lost=num_lost, needed_by="b", old_ratio=0.1, new_ratio=0.2)

    events = [step(1, 0, 40), retracted(1.5, 40), step(2, 0, 10), retracted(2.5, 10), step(3, 5, 40)]
    assert folded(events).totals.recomputed == computed_again(events) == 10 + 35
