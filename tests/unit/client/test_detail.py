"""`DetailSwitch`: on while anything holds it, and off after a holder whose switching failed."""

from __future__ import annotations

import pytest

from workbench.client.detail import DetailSwitch
from workbench.errors import EngineDead


class Engine:
    """Records the switches of its token detail, of which the first raises `error`."""

    def __init__(self, error=None):
        self.calls, self.error = [], error

    def token_detail(self, on):
        self.calls.append(on)
        error, self.error = self.error, None
        if error is not None:
            raise error


class Client:
    def __init__(self, engine):
        self.engine = engine


def switch_of(engine):
    client = Client(engine)
    return DetailSwitch(client), client  # it refers to the client weakly


def test_it_is_switched_by_the_first_holder_and_by_the_last():
    engine = Engine()
    switch, _client = switch_of(engine)
    for holder, on in (("view", True), ("cell", True), ("view", False), ("cell", False)):
        switch.set(holder, on)
    assert (engine.calls, switch.is_on) == ([True, False], False)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), EngineDead("gone")])
def test_a_holder_whose_switching_was_cut_off_holds_nothing(error):
    engine = Engine(error)
    switch, _client = switch_of(engine)
    with pytest.raises(type(error)):
        switch.set("cell", True)
    assert not switch.is_on
    switch.set("view", True)
    switch.set("view", False)
    assert engine.calls == [True, True, False], "the next one switches it on and off again"
