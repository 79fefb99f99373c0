"""Bodies of other APIs as the calls that they make."""

from __future__ import annotations

import pytest

from workbench.errors import InvalidRequest
from workbench.server.anthropic.request import MessagesBody
from workbench.server.chat.messages import read_messages
from workbench.server.ollama.routes import _message

USER = {"role": "user", "content": "hi"}


def test_results_of_ollama_go_to_the_call_of_their_tool_and_thoughts_are_kept():
    calls = [{"function": {"name": name, "arguments": {}}} for name in ("f", "g")]
    given = [
        USER, {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": calls},
        {"role": "tool", "content": "of g", "tool_name": "g"}, {"role": "tool", "content": "of f", "tool_name": "f"},
    ]  # fmt: skip
    _, answer, *results = read_messages([_message(message, i) for i, message in enumerate(given)])
    assert answer["reasoning_content"] == "Hm."
    ids = {call["function"]["name"]: call["id"] for call in answer["tool_calls"]}
    assert [(result["name"], result["tool_call_id"]) for result in results] == [("g", ids["g"]), ("f", ids["f"])]


@pytest.mark.parametrize("budget", [None, 1, 15])
def test_a_budget_of_thinking_below_max_tokens_goes_into_the_call(budget):
    thinking = {"type": "enabled"} | ({} if budget is None else {"budget_tokens": budget})
    call = MessagesBody(messages=[USER], max_tokens=16, thinking=thinking).call()
    assert (call.chat_template_kwargs, call.reasoning_budget) == ({"enable_thinking": True}, budget)


@pytest.mark.parametrize("budget", [16, 17, 0, "1"])
def test_a_budget_of_thinking_that_the_api_does_not_take_is_refused(budget):
    body = MessagesBody(messages=[USER], max_tokens=16, thinking={"type": "enabled", "budget_tokens": budget})
    with pytest.raises(InvalidRequest, match="budget_tokens"):
        body.call()
