"""`thinking` of `/v1/messages` with a reasoning parser: its budget, its refusals, and the answer behind it."""

from __future__ import annotations

import json

import httpx
import jsonschema
import pytest

import workbench

HELLO = [{"role": "user", "content": "Name a river."}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"name": "weather", "input_schema": SCHEMA}]
MARK = "\n</think>\n\n"


@pytest.fixture(scope="module")
def engine(smollm2):
    with workbench.Engine("smollm2-135m", dtype="float32", max_total_tokens=8000) as engine:
        yield engine


@pytest.fixture(scope="module")
def served(engine):
    """A server that takes what this model writes for reasoning, until a mark that it never writes."""
    with workbench.serve(engine, port=0, reasoning_parser="deepseek-r1", tool_call_parser="hermes") as served:
        yield served


def ask(served, budget=None, path="/v1/messages", **more):
    thinking = {"thinking": {"type": "enabled", "budget_tokens": budget}} if budget is not None else {}
    body = {"model": "m", "messages": HELLO, "max_tokens": 40, "temperature": 0} | thinking | more
    return httpx.post(served.url + path, json=body, timeout=60)


def plain(engine, text, num_tokens):
    return engine.generate(text, max_new_tokens=num_tokens, temperature=0, ignore_eos=True)["text"]


def test_reasoning_ends_at_its_budget_and_the_model_answers_behind_it(engine, served):
    message = ask(served, 12).json()
    thinking, text = message["content"]
    prompt = engine.tokenizer.apply_chat_template(HELLO, tokenize=False, add_generation_prompt=True)
    thought = plain(engine, prompt, 12)
    assert (thinking["type"], thinking["thinking"]) == ("thinking", thought.strip())
    num_mark = len(engine.tokenizer.encode(MARK, add_special_tokens=False))
    answer = plain(engine, prompt + thought + MARK, 40 - 12 - num_mark)
    assert text["type"] == "text"
    assert text["text"]
    assert answer.lstrip().startswith(text["text"])
    if message["stop_reason"] == "max_tokens":
        assert (message["usage"]["output_tokens"], text["text"]) == (40, answer.lstrip())


def test_a_stream_with_a_budget_is_the_whole_message(served):
    whole = ask(served, 12).json()
    parts: dict[str, str] = {}
    for line in ask(served, 12, stream=True).text.splitlines():
        event = json.loads(line[6:]) if line.startswith("data: ") else {}
        if event.get("type") == "content_block_delta":
            kind, value = [*event["delta"].items()][1]
            parts[kind] = parts.get(kind, "") + value
    assert parts == {block["type"]: block[block["type"]] for block in whole["content"]}


def test_a_forced_tool_is_called_behind_the_reasoning(served):
    message = ask(served, 8, tools=TOOLS, tool_choice={"type": "any"}, max_tokens=80).json()
    thinking, *calls = message["content"]
    assert (thinking["type"], {block["type"] for block in calls}) == ("thinking", {"tool_use"})
    for call in calls:
        jsonschema.validate(call["input"], SCHEMA)


@pytest.mark.parametrize("budget", [40, 41, 0, -1, 2.5, "many", True, [1]])
def test_a_budget_is_a_number_below_max_tokens(served, budget):
    answer = ask(served, budget)
    assert (answer.status_code, answer.json()["type"]) == (400, "error")
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert "thinking.budget_tokens" in answer.json()["error"]["message"]


def test_without_a_budget_max_tokens_limits_thinking_and_answer_together(served):
    contents = []
    for thinking in ({"type": "adaptive"}, {"type": "enabled"}, {"type": "enabled", "budget_tokens": 39}):
        message = ask(served, thinking=thinking).json()
        contents.append(message["content"])
        assert message["usage"]["output_tokens"] <= 40
    assert [block["type"] for block in contents[0]] == ["thinking"]
    assert contents == contents[:1] * 3
    assert ask(served, 10**6, "/v1/messages/count_tokens", max_tokens=None).json()["input_tokens"] > 5
