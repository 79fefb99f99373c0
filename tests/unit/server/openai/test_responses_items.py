"""Items of `/v1/responses` as messages."""

from __future__ import annotations

import pytest

from workbench.errors import InvalidRequest, NotSupported
from workbench.server.openai.responses_items import read_items

CALLS = [{"type": "function_call", "call_id": f"c{i}", "name": "f", "arguments": "{}"} for i in range(2)]


def call(i):
    return {"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_items_of_the_assistant_that_follow_each_other_are_one_message():
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]}
    results = [
        {"type": "function_call_output", "call_id": f"c{i}", "output": [{"type": "input_text", "text": str(i)}]} for i in (0, 1)
    ]
    assert read_items([{"role": "user", "content": "Hi"}, thought, said, *CALLS, *results, said]) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "I look.", "reasoning_content": "Hm.", "tool_calls": [call(0), call(1)]},
        {"role": "tool", "tool_call_id": "c0", "content": "0"},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "assistant", "content": "I look."},
    ]


def test_a_call_that_was_cut_off_is_left_out():
    cut = {**CALLS[0], "arguments": '{"ci', "status": "incomplete"}
    assert read_items([{"role": "user", "content": "Hi"}, cut, {"role": "user", "content": "Go on"}]) == [
        {"role": "user", "content": "Hi"}, {"role": "user", "content": "Go on"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "place"),
    [
        ({"role": "robot", "content": "x"}, "input[0].role"), ({"role": "user", "content": 7}, "input[0].content"),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "input[0].call_id"),
        ({"type": "function_call_output", "output": "x"}, "input[0].call_id"),
        ({"type": "reasoning", "content": [7]}, "input[0].content"),
    ],
)  # fmt: skip
def test_a_wrong_item_is_named(item, place):
    with pytest.raises(InvalidRequest) as caught:
        read_items([item])
    assert caught.value.field == place


def test_an_item_of_a_hosted_tool_is_not_supported():
    with pytest.raises(NotSupported, match=r"input\[0\].*web_search_call"):
        read_items([{"type": "web_search_call", "id": "x"}])
