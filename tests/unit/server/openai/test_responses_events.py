"""The events of an answer of `/v1/responses`, from events of the chat core."""

from __future__ import annotations

from workbench.server.chat import ChoiceFinished, ReasoningDelta, TextDelta, ToolArgumentsDelta, ToolCallStarted, Usage
from workbench.server.openai.responses_events import ResponseWriter
from workbench.server.problem import Problem

EVENTS = [
    ReasoningDelta(0, "Let me "), ReasoningDelta(0, "see."), TextDelta(0, "I "), TextDelta(0, "look."),
    ToolCallStarted(0, 0, "call_a", "f"), ToolArgumentsDelta(0, 0, '{"x"'), ToolArgumentsDelta(0, 0, ": 1}"),
    ToolCallStarted(0, 1, "call_b", "f"), ToolArgumentsDelta(0, 1, "{}"), ChoiceFinished(0, "tool_calls"),
]  # fmt: skip


def written(events=EVENTS):
    writer = ResponseWriter({"id": "resp_1"})
    out = writer.start()
    for event in events:
        out += writer.push(event)
    return writer, out + writer.finish(Usage(5, 4, 3, 2))


def test_each_item_has_its_index_its_id_and_its_end():
    writer, events = written()
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    output = writer.response["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call", "function_call"]
    assert len({item["id"] for item in output}) == 4
    for index, item in enumerate(output):
        own = [event for event in events if event.get("output_index") == index]
        kinds = [event["type"] for event in own]
        assert (kinds[0], kinds[-1]) == ("response.output_item.added", "response.output_item.done")
        assert {event.get("item_id", item["id"]) for event in own} == {item["id"]}
        assert sum(kind.endswith((".text.done", "_text.done", "arguments.done")) for kind in kinds) == 1
    assert [output[0]["content"][0]["text"], output[1]["content"][0]["text"]] == ["Let me see.", "I look."]
    assert [(item["call_id"], item["arguments"]) for item in output[2:]] == [("call_a", '{"x": 1}'), ("call_b", "{}")]
    usage = events[-1]["response"]["usage"]
    assert (usage["total_tokens"], usage["input_tokens_details"]["cached_tokens"]) == (9, 3)
    assert usage["output_tokens_details"]["reasoning_tokens"] == 2


def test_events_do_not_change_after_they_are_written():
    _, events = written()
    added = next(event for event in events if event["type"] == "response.output_item.added")
    assert (added["item"]["status"], added["item"]["content"]) == ("in_progress", [])
    assert [event["response"]["status"] for event in events if "response" in event] == ["in_progress", "in_progress", "completed"]
    assert events[0]["response"]["output"] == []


def test_scores_of_tokens_without_text_come_with_the_next_text():
    score = {"token": "x", "logprob": -1.0, "bytes": [120], "top_logprobs": []}
    _, events = written([TextDelta(0, "", [score]), TextDelta(0, "é", [score]), ChoiceFinished(0, "stop")])
    (delta,) = [event for event in events if event["type"] == "response.output_text.delta"]
    assert delta["logprobs"] == [{"token": "x", "logprob": -1.0, "top_logprobs": []}] * 2
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == [score] * 2


def test_an_empty_answer_is_an_empty_message():
    writer, events = written([ChoiceFinished(0, "stop")])
    (item,) = writer.response["output"]
    assert (item["status"], item["content"][0]["text"]) == ("completed", "")
    assert events[-1]["type"] == "response.completed"


def test_a_failed_answer_ends_with_its_reason():
    writer = ResponseWriter({"id": "resp_1"})
    num = len([*writer.start(), *writer.push(TextDelta(0, "I"))])
    last = writer.fail(Problem(503, "the engine has ended"))
    assert (last["type"], last["sequence_number"], last["response"]["status"]) == ("response.failed", num, "failed")
    assert last["response"]["error"]["message"] == "the engine has ended"
