"""`RemoteClient` and servers that it does not understand. `tests/server/test_attach.py` follows real ones."""

from __future__ import annotations

import time

import msgspec
import pytest
from local_server import JsonHandler, serving

from workbench.api.remote import RemoteClient, address
from workbench.client.answers import News
from workbench.errors import NotSupported
from workbench.events import CacheFlushed

KNOWN = msgspec.msgpack.encode(News([CacheFlushed(time=1.0, num_tokens=3)]))
LATER = msgspec.msgpack.encode({"events": [{"type": "Teleported", "time": 2.0}]})


class Events(JsonHandler):
    """Sends messages of the event stream and ends it."""

    messages: tuple[bytes, ...] = ()

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        for message in self.messages:
            self.wfile.write(len(message).to_bytes(4, "big") + message)


def follow(url):
    return RemoteClient(address(url, None), read_only=True, log_size=100, history=10)


@pytest.mark.parametrize("message", [LATER, b"\xc1 no msgpack"])
def test_a_server_of_another_version_is_refused_at_once_and_not_taken_for_one_that_is_away(message):
    words = r"(?s)event that is not known here.*same version"
    with serving(Events, messages=(message,)) as url, pytest.raises(NotSupported, match=words):
        follow(url)


def test_an_event_of_another_version_ends_the_following_with_its_reason():
    with serving(Events, messages=(KNOWN, LATER)) as url:
        client = follow(url)
        deadline = time.monotonic() + 60
        while not client.ended and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "event that is not known here" in client.ended
        assert client.log.num_added == 1
        client.close()
