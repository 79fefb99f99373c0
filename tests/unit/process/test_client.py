from __future__ import annotations

import threading

import pytest

from workbench.config import ServerArgs
from workbench.errors import ModelNotFound
from workbench.hub.progress import IMPORTING, READING
from workbench.process import client


class Stand:
    """Stands for a `ProcessClient` whose child reports its progress and is open."""

    reported = (IMPORTING, f"{READING} and compiling")
    is_closed = False
    info = "info"

    def __init__(self, args, progress, on_end):
        Stand.is_closed = False
        for what in self.reported:
            progress(what, 0, 0)
            Stand.on_report(what)

    def close(self):
        Stand.is_closed = True


def test_the_tokenizer_is_read_beside_the_weights_once_the_child_has_found_them(monkeypatch):
    begun, seen = threading.Event(), []

    def find(args):
        begun.set()
        return "tokenizer"

    def on_report(what):
        seen.append(what)
        assert begun.wait(60) if what.startswith(READING) else not begun.is_set()

    monkeypatch.setattr(client, "find_tokenizer", find)
    monkeypatch.setattr(client, "ProcessClient", Stand)
    monkeypatch.setattr(Stand, "on_report", staticmethod(on_report), raising=False)
    reported = []
    opened = client.open_process(ServerArgs(), lambda *news: reported.append(news[0]))
    assert (opened.tokenizer, opened.info) == ("tokenizer", "info")
    assert seen == reported == list(Stand.reported)


@pytest.mark.parametrize("reported", [(), (READING,)])
def test_a_child_is_closed_when_there_is_no_tokenizer(monkeypatch, reported):
    def find(args):
        raise ModelNotFound("no tokenizer", hint="none")

    monkeypatch.setattr(client, "find_tokenizer", find)
    monkeypatch.setattr(client, "ProcessClient", Stand)
    monkeypatch.setattr(Stand, "reported", reported)
    monkeypatch.setattr(Stand, "on_report", staticmethod(lambda what: None), raising=False)
    with pytest.raises(ModelNotFound, match="no tokenizer"):
        client.open_process(ServerArgs())
    assert Stand.is_closed
