"""The channel between two processes, with both ends in this one."""

from __future__ import annotations

import os
import threading

import msgspec
import pytest

from workbench.process.channel import Channel


class Ping(msgspec.Struct, tag=True):
    number: int


class Pong(msgspec.Struct, tag=True):
    text: str


@pytest.fixture
def ends():
    one: Channel[Pong] = Channel(Pong)
    other: Channel[Ping | Pong] = Channel(Ping | Pong, one.addresses)
    yield one, other
    other.close()
    one.close()


def test_messages_of_several_threads_come_whole_and_in_the_order_of_each(ends):
    one, other = ends

    def send(start):
        for number in range(start, start + 200):
            assert one.send(Ping(number))

    threads = [threading.Thread(target=send, args=(start,)) for start in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    numbers = [other.receive(60_000).number for _ in range(600)]
    for thread in threads:
        thread.join()
    for start in (0, 1000, 2000):
        assert [number for number in numbers if start <= number < start + 1000] == list(range(start, start + 200))
    other.send(Pong("back"))
    assert one.receive(60_000) == Pong("back")


def test_a_receiver_waits_no_longer_than_it_is_told(ends):
    assert ends[0].receive(1) is None


def test_a_message_of_another_type_is_an_error_and_the_next_is_read(ends):
    one, other = ends
    other.send(Ping(1))
    other.send(Pong("known"))
    with pytest.raises(msgspec.ValidationError, match="Ping"):
        one.receive(60_000)
    assert one.receive(60_000) == Pong("known")


def test_a_send_to_an_end_that_is_not_there_returns_in_its_time_and_a_closed_end_sends_nothing():
    alone: Channel[Ping] = Channel(Ping, send_wait_ms=1)
    folder = alone.folder
    assert not alone.send(Ping(1))
    assert os.path.isdir(folder) or not folder
    alone.close()
    assert not alone.send(Ping(2))
    assert not os.path.exists(folder)


@pytest.mark.skipif(os.name != "posix", reason="there are no socket files")
def test_no_other_user_may_enter_the_folder_of_the_sockets(ends):
    assert os.stat(ends[0].folder).st_mode & 0o077 == 0
