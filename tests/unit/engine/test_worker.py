"""The engine's thread and its client: streams to threads and event loops, aborts, limits, and the state after a broken loop."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from workbench import switch_interval as switching
from workbench.client.stream import read, read_async
from workbench.engine.calls import CoreCalls
from workbench.engine.fake import FakeRunner
from workbench.errors import EngineDead, InvalidRequest, QueueFull
from workbench.testing import make_client, make_core, plain_loop
from workbench.testing import make_request as request

VOCAB = 256
LONG = 3000
"""Number of output tokens that take a second or so: long enough to interrupt."""
WAIT_S = 60


class Gate(FakeRunner):
    """A runner with a gate: while it is closed, the engine stands still in the middle of a step."""

    def __init__(self) -> None:
        super().__init__(VOCAB)
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def execute(self, plan):
        self.entered.set()
        assert self.open.wait(WAIT_S)
        return super().execute(plan)


def open_client(runner=None, calls=CoreCalls, prepare=lambda request: (None, None), **config):
    values = {"num_tokens": 8192, "context_length": 8000, "check": False, "clock": time.monotonic}
    return make_client(make_core(runner=runner, **values | config), prepare, calls)


@contextmanager
def opened(*args, **config):
    client = open_client(*args, **config)
    try:
        yield client
    finally:
        if isinstance(client._core.runner, Gate):
            client._core.runner.open.set()
        client.close()


def collect(pairs, count):
    ids = [[] for _ in range(count)]
    for i, out in pairs:
        ids[i] += out.token_ids
    return ids


def engine_threads():
    return [thread for thread in threading.enumerate() if thread.name == "workbench-engine"]


def wait_until(true):
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.002)


def test_streams_read_by_a_thread_equal_the_plain_loop():
    with opened() as client:
        requests = [request(f"r{i}", range(1, 10 + i), 5 + i) for i in range(6)]
        outputs = collect(read(client.submit(requests)), len(requests))
    assert outputs == [plain_loop(r.input_ids, r.params.max_new_tokens) for r in requests]


def test_streams_are_read_by_several_tasks_of_a_running_loop_at_once():
    async def one(client, i):
        streams = client.submit([request(f"r{i}", [i], 40)])
        return [token async for _, out in read_async(streams) for token in out.token_ids]

    async def all_at_once(client):
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        outputs = await asyncio.gather(*(one(client, i) for i in range(8)))
        ticking.cancel()
        return outputs, ticks

    with opened() as client:
        outputs, ticks = asyncio.run(all_at_once(client))
    assert outputs == [plain_loop([i], 40) for i in range(8)]
    assert ticks > 8, "reading must not block the loop"


def test_several_threads_submit_and_read_at_once():
    outputs = {}

    def one(client, i):
        outputs[i] = collect(read(client.submit([request(f"r{i}", [i, i], 30)])), 1)[0]

    with opened() as client:
        threads = [threading.Thread(target=one, args=(client, i)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outputs == {i: plain_loop([i, i], 30) for i in range(8)}


def test_an_abort_in_the_middle_ends_the_stream_and_frees_the_engine():
    with opened() as client:
        streams = client.submit([request("long", max_new_tokens=LONG)])
        seen, last = [], None
        for _, out in read(streams):
            seen += out.token_ids
            if len(seen) == 3:
                client.abort("long")
            last = out
        assert last.finish.type == "abort"
        assert 3 <= len(seen) < LONG
        assert seen == plain_loop((1, 2, 3), len(seen))
        assert collect(read(client.submit([request("long")])), 1) == [plain_loop((1, 2, 3), 8)], "the id is free again"
        assert not client._core.cache.leases


def test_aborting_what_does_not_run_is_ignored():
    with opened() as client:
        client.abort("never")
        assert collect(read(client.submit([request("a")])), 1) == [plain_loop((1, 2, 3), 8)]


def test_a_reader_that_leaves_early_does_not_stop_the_others():
    with opened() as client:
        left = read(client.submit([request("left", max_new_tokens=200)]))
        next(left)
        left.close()
        assert collect(read(client.submit([request("b")])), 1) == [plain_loop((1, 2, 3), 8)]


def test_an_id_in_use_is_refused_and_nothing_of_its_batch_is_queued():
    gate = Gate()
    with opened(gate) as client:
        gate.open.clear()
        client.submit([request("a")])
        with pytest.raises(InvalidRequest, match="rid is 'a'"):
            client.submit([request("b"), request("a")])
        with pytest.raises(InvalidRequest, match="rid is 'c'"):
            client.submit([request("c"), request("c")])
        streams = client.submit([request("b"), request("c")])
        gate.open.set()
        assert collect(read(streams), 2) == [plain_loop((1, 2, 3), 8)] * 2


def test_a_batch_beyond_the_queue_limit_is_refused_as_a_whole():
    gate = Gate()
    with opened(gate, max_running_requests=1, max_queued_requests=2) as client:
        gate.open.clear()
        first = client.submit([request("a"), request("b")])
        with pytest.raises(QueueFull, match="2 requests open"):
            client.submit([request("c"), request("d")])
        second = client.submit([request("c")])
        gate.open.set()
        assert collect(read([*first, *second]), 3) == [plain_loop((1, 2, 3), 8)] * 3
        assert collect(read(client.submit([request("d")])), 1) == [plain_loop((1, 2, 3), 8)], "there is room again"


def test_one_wrong_request_of_a_batch_queues_none():
    with opened() as client:
        with pytest.raises(InvalidRequest, match="vocabulary"):
            client.submit([request("a"), request("b", [VOCAB])])
        assert collect(read(client.submit([request("a")])), 1) == [plain_loop((1, 2, 3), 8)]


def test_what_cannot_be_prepared_is_raised_in_the_callers_thread():
    def prepare(asked):
        assert threading.current_thread() is threading.main_thread()
        if asked.rid == "bad":
            raise InvalidRequest("regex", "(", "a regular expression")
        return None, None

    with opened(prepare=prepare) as client:
        with pytest.raises(InvalidRequest, match="regex"):
            client.submit([request("a"), request("bad")])
        assert collect(read(client.submit([request("a")])), 1) == [plain_loop((1, 2, 3), 8)]


class Watched(CoreCalls):
    """Calls of which one returns its thread and one fails."""

    def weights(self):
        return threading.current_thread().name

    def flush_cache(self):
        raise ValueError("no")


def test_calls_are_answered_on_the_engines_thread_and_their_errors_come_back():
    with opened(calls=Watched) as client:
        assert client.engine.weights() == "workbench-engine"
        with pytest.raises(ValueError, match="no"):
            client.engine.flush_cache()
        with pytest.raises(TypeError):
            client.engine.token_detail()
        assert client.engine.now() > 0, "the engine goes on"


def test_a_call_that_its_caller_gave_up_is_not_made_and_does_no_harm():
    gate = Gate()
    with opened(gate) as client:
        gate.open.clear()
        client.submit([request("a")])
        assert gate.entered.wait(WAIT_S)
        made = []
        future = client._worker.ask(lambda: made.append(1))
        assert future.cancel()
        gate.open.set()
        assert client.engine.now() > 0
        assert not made


@pytest.mark.parametrize("from_a_loop", [False, True])
def test_a_loop_that_breaks_ends_every_reader_and_every_later_call(monkeypatch, caplog, from_a_loop):
    gate = Gate()
    with opened(gate) as client:
        gate.open.clear()
        streams = client.submit([request("a"), request("b")])
        assert gate.entered.wait(WAIT_S)
        monkeypatch.setattr(client._core, "begin", broken_step)
        gate.open.set()

        async def read_all():
            return [out async for _, out in read_async(streams)]

        with pytest.raises(EngineDead, match="RuntimeError: the page account is wrong"):
            asyncio.run(read_all()) if from_a_loop else list(read(streams))
        for stream in streams:
            if not stream.is_finished:
                with pytest.raises(EngineDead):
                    list(read([stream]))
        with pytest.raises(EngineDead, match="page account"):
            client.submit([request("later")])
        with pytest.raises(EngineDead):
            client.engine.now()
        client.abort("a")
        wait_until(lambda: not engine_threads())
    assert "the engine's loop broke" in caplog.text


def broken_step():
    raise RuntimeError("the page account is wrong")


def test_a_question_that_waits_when_the_loop_breaks_is_answered_with_the_error(monkeypatch):
    gate = Gate()
    with opened(gate) as client:
        gate.open.clear()
        client.submit([request("a")])
        assert gate.entered.wait(WAIT_S)
        future = client._worker.ask(client._core.clock)
        client._worker.send(broken_step)
        after = client._worker.ask(client._core.clock)
        gate.open.set()
        assert future.result(WAIT_S) > 0, "asked before it broke"
        with pytest.raises(EngineDead, match="page account"):
            after.result(WAIT_S)


def test_closing_ends_open_streams_and_waiting_questions_and_leaves_no_thread():
    before = set(threading.enumerate())
    client = open_client(gate := Gate())
    streams = client.submit([request("a", max_new_tokens=LONG)])
    assert gate.entered.wait(WAIT_S)
    gate.open.clear()
    client._worker._inbox.put(None)
    late = client._worker.ask(client._core.clock)
    gate.open.set()
    client.close()
    client.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(EngineDead, match="shut down"):
        list(read(streams))
    assert late.exception(WAIT_S) is None or isinstance(late.exception(), EngineDead), "answered or refused, not forgotten"
    with pytest.raises(EngineDead, match="shut down"):
        client.engine.now()
    with pytest.raises(EngineDead, match="shut down"):
        client.submit([request("b")])


def test_the_switch_interval_is_short_while_any_engine_steps_and_usual_afterwards():
    usual = sys.getswitchinterval()
    one, two = Gate(), Gate()
    with opened(one) as first, opened(two) as second:
        assert sys.getswitchinterval() == usual
        one.open.clear()
        two.open.clear()
        streams = first.submit([request("a")]), second.submit([request("a")])
        assert one.entered.wait(WAIT_S)
        assert two.entered.wait(WAIT_S)
        assert sys.getswitchinterval() == pytest.approx(switching.QUICK_S)
        one.open.set()
        list(read(streams[0]))
        assert sys.getswitchinterval() == pytest.approx(switching.QUICK_S), "the second still steps"
        two.open.set()
        list(read(streams[1]))
        wait_until(lambda: sys.getswitchinterval() == usual)


def test_the_switch_interval_is_usual_again_after_a_loop_broke(monkeypatch):
    usual = sys.getswitchinterval()
    with opened() as client:
        monkeypatch.setattr(client._core, "begin", broken_step)
        with pytest.raises(EngineDead):
            list(read(client.submit([request("a")])))
        wait_until(lambda: not engine_threads())
    assert sys.getswitchinterval() == usual


def test_two_engines_in_one_process_do_not_meet():
    with opened() as first, opened(vocab_size=128) as second:
        streams = [*first.submit([request("same", max_new_tokens=50)]), *second.submit([request("same", [9], 50)])]
        assert collect(read(streams), 2) == [plain_loop((1, 2, 3), 50), plain_loop([9], 50, 128)]
        first.close()
        assert collect(read(second.submit([request("more", [7])])), 1) == [plain_loop([7], 8, 128)]


def test_an_unexpected_error_while_a_request_is_added_ends_that_request_alone(monkeypatch):
    with opened() as client:
        add = client._core.add

        def picky(asked, **more):
            if asked.rid == "odd":
                raise RuntimeError("the detokenizer stumbled")
            add(asked, **more)

        monkeypatch.setattr(client._core, "add", picky)
        streams = client.submit([request("odd"), request("even")])
        with pytest.raises(Exception, match="stumbled"):
            list(read(streams[:1]))
        assert collect(read(streams[1:]), 1) == [plain_loop((1, 2, 3), 8)]
