"""Streams and calls that wait for an engine: opened all or none, and ended all together."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

from workbench.client.stream import read, read_async
from workbench.client.waiters import Waiters, answer
from workbench.errors import EngineDead, InvalidRequest, QueueFull
from workbench.types import FinishReason, TokenOut

END = FinishReason("length", length=1)


def out(rid, *ids, finish=None):
    return TokenOut(rid=rid, token_ids=ids, finish=finish)


def test_outputs_reach_their_stream_and_the_last_one_frees_the_id():
    waiters = Waiters()
    a, b = waiters.open_streams(["a", "b"])
    waiters.put([out("a", 1), out("b", 2, finish=END), out("a", 3, finish=END), out("a", 4), out("never", 5)])
    assert [(i, each.token_ids) for i, each in read([a, b])] == [(0, (1,)), (0, (3,)), (1, (2,))]
    assert len(waiters.open_streams(["a", "b"])) == 2


def test_a_step_wakes_an_event_loop_once_for_all_its_readers():
    async def read_all():
        loop, wakes = asyncio.get_running_loop(), []
        call_soon = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *args: (wakes.append(1), call_soon(*args))
        waiters = Waiters()

        async def ids(stream):
            return [each.token_ids async for _, each in read_async([stream])]

        readers = [asyncio.create_task(ids(stream)) for stream in waiters.open_streams(["a", "b"])]
        await asyncio.sleep(0)
        for step in ([out("a", 1), out("b", 2)], [out("a", 3, finish=END), out("b", 4, finish=END)]):
            waiters.put(step)
        return await asyncio.gather(*readers), len(wakes)

    assert asyncio.run(read_all()) == ([[(1,), (3,)], [(2,), (4,)]], 2)


@pytest.mark.parametrize("rids", [["new", "a"], ["new", "new"]])
def test_an_id_in_use_opens_none_of_its_batch(rids):
    waiters = Waiters()
    waiters.open_streams(["a"])
    with pytest.raises(InvalidRequest, match=f"rid is '{rids[1]}'"):
        waiters.open_streams(rids)
    assert waiters.open_streams(["new"])


def test_a_check_sees_how_many_are_open_and_may_refuse():
    waiters, counts = Waiters(), []
    waiters.open_streams(["a", "b"], counts.append)

    def full(num_open):
        raise QueueFull(f"{num_open} requests open")

    with pytest.raises(QueueFull, match="2 requests open"):
        waiters.open_streams(["c"], full)
    waiters.forget(["a"])
    waiters.open_streams(["c"], counts.append)
    assert counts == [0, 1]


def test_the_end_reaches_every_waiter_once_and_refuses_new_ones():
    waiters = Waiters()
    (a, b), call, given_up = waiters.open_streams(["a", "b"]), waiters.call(), waiters.call()
    answered = waiters.call()
    answered.set_result(1)
    waiters.fail("b", ValueError("its own"))
    given_up.cancel()
    waiters.end("it broke")
    for waiting in (lambda: list(read([a])), call.result, waiters.call, lambda: waiters.open_streams(["c"])):
        with pytest.raises(EngineDead, match="it broke") as caught:
            waiting()
        assert caught.value.hint == "load it again"
    with pytest.raises(ValueError, match="its own"):
        list(read([b]))
    assert (waiters.ended, answered.result()) == ("it broke", 1)


def test_an_answer_is_a_result_an_error_or_nothing_where_it_was_given_up():
    done, failed, given_up = Future(), Future(), Future()
    answer(done, lambda: 3)
    answer(failed, lambda: 1 // 0)
    given_up.cancel()
    answer(given_up, lambda: pytest.fail("called"))
    assert done.result() == 3
    with pytest.raises(ZeroDivisionError):
        failed.result()
