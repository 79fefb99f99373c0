"""Messages of all shapes in the one form that templates read."""

from __future__ import annotations

import pytest

from workbench.errors import InvalidRequest, NotSupported
from workbench.server.chat.messages import read_messages, with_json_arguments, with_text_calls

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


@pytest.mark.parametrize("content", [None, [], ""])
def test_no_content_is_an_empty_text(content) -> None:
    read = read_messages([{"role": "assistant", "content": content, "tool_calls": [CALL]}])
    assert read[0]["content"] == ""
    assert read[0]["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert "tool_calls" not in read_messages([{"role": "assistant", "content": content, "tool_calls": []}])[0]
    assert read == read_messages([{"role": "assistant", "tool_calls": [CALL]}])


def test_a_result_without_an_id_belongs_to_the_first_open_call() -> None:
    loose = {"name": "f", "arguments": {"a": 1}}
    turns = [{"role": "user", "content": "", "tool_calls": [loose, loose]}, *[{"role": "tool", "content": "r", "name": "f"}] * 2]
    read = read_messages(turns)
    assert read[0]["role"] == "assistant"
    assert [call["id"] for call in read[0]["tool_calls"]] == [read[1]["tool_call_id"], read[2]["tool_call_id"]]


def test_parts_are_joined_and_other_media_refused() -> None:
    parts = [{"type": "text", "text": "a"}, "b", {"type": "refusal", "refusal": "c"}]
    assert read_messages([{"role": "user", "content": parts}])[0]["content"] == "a\nb\nc"
    with pytest.raises(NotSupported, match=r"messages\[0\].content\[0\].*image_url"):
        read_messages([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])


@pytest.mark.parametrize(
    "message", [{}, {"role": 1}, {"role": "user", "content": 1}, {"role": "user", "content": [{}]}, "text",
                {"role": "assistant", "tool_calls": "f"}, {"role": "assistant", "tool_calls": [{"function": {}}]},
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]
)  # fmt: skip
def test_a_malformed_message_is_refused_with_its_place(message) -> None:
    with pytest.raises(InvalidRequest, match=r"messages\[0\]"):
        read_messages([message])


def test_templates_without_a_place_for_calls_get_them_as_text() -> None:
    read = read_messages([{"role": "assistant", "content": "Yes.", "tool_calls": [CALL]}])
    assert with_text_calls(read) == [{"role": "assistant", "content": 'Yes.\n{"name": "f", "arguments": {"a": 1}}'}]
    assert with_json_arguments(read)[0]["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'
