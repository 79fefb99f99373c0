"""The fold of the metrics alone, over a log of its own."""

from __future__ import annotations

from types import SimpleNamespace

from workbench.events import EventLog, RequestArrived, TokenSampled
from workbench.server.metrics import RATE_S, Metrics


def metrics_of(log: EventLog) -> Metrics:
    args = SimpleNamespace(metrics_alias="", is_embedding=False)
    handle = SimpleNamespace(log=log)
    serving = SimpleNamespace(args=args, name="model", is_unlogged=lambda rid: False, on_engine=lambda listen: listen(handle))
    return Metrics(serving)


def test_metrics_that_nobody_reads_keep_no_more_than_the_last_seconds():
    log = EventLog()
    metrics = metrics_of(log)
    log.add(RequestArrived(time=0.0, rid="a", num_prompt=1, max_new_tokens=9))
    for i in range(5000):
        log.add(TokenSampled(time=i / 50, rid="a", token_id=1, position=i))
    metrics.read()
    metrics.close()
    assert len(metrics._recent) == 50 * RATE_S + 1


def test_requests_whose_end_the_log_dropped_are_forgotten():
    log = EventLog(4)
    metrics = metrics_of(log)
    log.add(RequestArrived(time=0.0, rid="a", num_prompt=1, max_new_tokens=9))
    metrics.read()
    for i in range(9):
        log.add(RequestArrived(time=1.0 + i, rid=f"b{i}", num_prompt=1, max_new_tokens=9))
    metrics.read()
    metrics.close()
    assert list(metrics._timings) == ["b5", "b6", "b7", "b8"]
