"""Messages between processes: made from a protocol, refused if the other side has another version."""

from __future__ import annotations

from typing import Protocol

import msgspec
import pytest

from workbench.client.protocol import EngineCalls, calls_of
from workbench.errors import InvalidRequest, NotSupported
from workbench.process.main import Child
from workbench.process.messages import MESSAGES, Answer, Call, Refusal, message_of, messages_of
from workbench.types import Request, SamplingParams
from workbench.wire_error import encode


class Inner(msgspec.Struct):
    words: list[str]


class Newer(Protocol):
    """A protocol with a call that no other code has."""

    def fly(self, height: int, names: tuple[str, ...] = ("a",), *, inner: Inner | None = None) -> dict[str, Inner]:
        """Flies."""


def crossed(call: Call) -> Call:
    return msgspec.msgpack.decode(encode(call), type=Call)


def test_a_method_of_a_protocol_is_a_message_with_no_other_code():
    (message,) = messages_of(Newer).values()
    call = crossed(message.call(7, 3, inner=Inner(["x"])))
    assert (call.number, call.name) == (7, "fly")
    assert message.read_arguments(call) == {"height": 3, "names": ("a",), "inner": Inner(["x"])}
    answer = Answer(7, msgspec.Raw(encode({"k": Inner(["y"])})))
    assert message.read_result(msgspec.msgpack.decode(encode(answer), type=Answer | Refusal)) == {"k": Inner(["y"])}


def test_every_call_on_an_engine_is_a_message():
    assert MESSAGES.keys() == {*calls_of(EngineCalls), "open", "submit", "abort", "ping"}


def test_a_call_of_a_later_version_is_refused_by_name_with_what_there_is():
    call = messages_of(Newer)["fly"].call(1, 3)
    with pytest.raises(NotSupported, match=r"no call 'fly'") as caught:
        message_of(call)
    assert "match_prefix" in caught.value.hint
    assert "same version" in caught.value.hint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"on": True, "later": 1}, "'token_detail' came with arguments that it does not take.*`later`"),
        ({"on": "yes"}, "'token_detail' came with arguments.*bool"),
        ({}, "'token_detail' came with arguments.*`on`"),
    ],
)
def test_arguments_of_another_version_are_refused_and_none_is_dropped(arguments, words):
    call = Call(1, "token_detail", msgspec.Raw(encode(arguments)))
    with pytest.raises(NotSupported, match=words):
        message_of(call).read_arguments(call)


def test_a_child_refuses_what_it_does_not_know_and_goes_on():
    served = Child(None, None)
    for call in (messages_of(Newer)["fly"].call(4, 3), MESSAGES["now"].call(5)):
        refusal = served._answer(call)
        assert (refusal.number, type(refusal)) == (call.number, Refusal)
    assert served._answer(Call(6, "serve", msgspec.Raw(encode({})))).failure.kind == "NotSupported", "no method but the calls"


@pytest.mark.parametrize(
    ("request_", "field", "value"),
    [
        ({"params": SamplingParams(custom_params={"f": print})}, "custom_params", {"f": print}),
        ({"rid": "\ud800"}, "rid", "\ud800"),
        ({"params": SamplingParams(stop=("a", "\ud800"))}, "stop", ("a", "\ud800")),
    ],
)
def test_a_value_that_msgpack_cannot_carry_is_named_by_its_innermost_field(request_, field, value):
    fields = {"rid": "r", "input_ids": (1,), "params": SamplingParams()}
    requests = [Request(**fields), Request(**fields | request_)]
    with pytest.raises(InvalidRequest, match="msgpack can carry") as caught:
        MESSAGES["submit"].call(1, requests)
    assert (caught.value.field, caught.value.value) == (field, value)
