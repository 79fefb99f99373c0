"""The event log: numbered, bounded, read from any number, written and read by several threads."""

from __future__ import annotations

import threading

import pytest

from workbench.events import EventLog, NodeAdded, RequestFinished, RequestScheduled
from workbench.events.log import LEAST_NUMBERS, NUMBERS


def event(number: int) -> RequestScheduled:
    return RequestScheduled(time=float(number), rid=f"r{number}", num_cached=0, num_pending=number)


def log_of(count: int, capacity: int = 100) -> EventLog:
    log = EventLog(capacity)
    for number in range(count):
        log.add(event(number))
    return log


@pytest.mark.parametrize("since, first, rids", [(0, 0, ["r0", "r1", "r2"]), (2, 2, ["r2"]), (3, 3, []), (9, 9, [])])
def test_a_reader_gets_what_is_new_and_the_number_of_its_first_event(since: int, first: int, rids: list[str]) -> None:
    number, events = log_of(3).read(since)
    assert (number, [event.rid for event in events]) == (first, rids)


def test_a_full_log_drops_the_oldest_and_a_late_reader_sees_the_gap() -> None:
    log = log_of(10, capacity=4)
    assert log.num_added == 10
    first, events = log.read(2)
    assert first == 6, "events 2 to 5 are gone"
    assert [event.rid for event in events] == ["r6", "r7", "r8", "r9"]


def test_events_of_long_prompts_leave_a_log_that_has_room_for_more_of_them() -> None:
    """Each number takes 36 bytes: 200,000 events of prompts of 8,000 tokens would take 6 GB."""
    log = EventLog(10_000)
    ids = tuple(range(20_000))
    for number in range(30):
        log.add(event(number))
        log.add(NodeAdded(time=0.0, node_id=number, parent_id=0, token_ids=ids, pages=ids, namespace="", rid="a"))
    first, events = log.read()
    assert log.num_added == first + len(events) == 60
    assert sum(held.num_held for held in events) == NUMBERS * 10_000
    for number in range(5000):
        log.add(event(number))
    assert len(log.read()[1]) == 5000 + len(events), "short ones take no other's room"


def test_a_log_keeps_the_newest_event_whatever_its_size() -> None:
    log = log_of(3, capacity=4)
    ids = tuple(range(LEAST_NUMBERS))
    log.add(NodeAdded(time=0.0, node_id=1, parent_id=0, token_ids=ids, pages=ids, namespace="", rid="a"))
    assert [type(held) for held in log.read()[1]] == [NodeAdded]


def test_a_log_without_capacity_is_off() -> None:
    assert log_of(0, capacity=1).on
    assert not EventLog(0).on


def test_skipped_events_are_counted_and_none_can_be_read() -> None:
    log = log_of(3)
    log.skip(5)
    assert log.read() == (8, [])
    log.add(event(8))
    assert log.read(3) == (8, [event(8)])


def test_threads_that_write_and_read_at_once_lose_nothing() -> None:
    log, seen = EventLog(100_000), 0
    writers = [threading.Thread(target=lambda: [log.add(event(i)) for i in range(500)]) for _ in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers) or seen < 2000:
        first, events = log.read(seen)
        assert first == seen
        seen += len(events)
    assert log.num_added == 2000


def test_events_are_facts_that_compare_by_value_and_cannot_be_changed() -> None:
    assert event(1) == event(1)
    finished = RequestFinished(time=0.0, rid="a", reason="stop", detail="", num_prompt=1, num_cached=0, num_output=2)
    with pytest.raises(AttributeError):
        finished.num_output = 3  # type: ignore[misc]
