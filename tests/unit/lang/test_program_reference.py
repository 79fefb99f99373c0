"""Programs in the forms that users of the reference write, on a scripted backend that answers with the prompt's length."""

from __future__ import annotations

import asyncio
import json

import pytest
from scripted_backend import ScriptedBackend

import workbench as sgl
from workbench.errors import InvalidRequest, NotSupported, ProgramMistake
from workbench.lang.nodes import RoleBegin, RoleEnd, Text


@pytest.fixture
def backend():
    chosen = ScriptedBackend()
    sgl.set_default_backend(chosen)
    yield chosen
    sgl.set_default_backend(None)


def test_an_item_of_a_fork_is_appended_to_by_its_index(backend):
    @sgl.function
    def tips(s):
        s += "abc"
        forks = s.fork(3)
        for i in range(3):
            forks[i] += "+" * i
            forks[i] += sgl.gen("tip", max_tokens=8)
        forks.join()
        for i in range(3):
            s += f"{i}:" + forks[i]["tip"]

    state = tips.run()
    assert state["tip"] == ["<3>", "<4>", "<5>"]
    assert state.text() == "abc0:<3>1:<4>2:<5>"


def test_an_item_of_a_fork_is_not_replaced(backend):
    def body(s):
        forks = s.fork(2)
        forks[0] = forks[1]

    with pytest.raises(ProgramMistake, match=r"forks\[0\] = \.\.\. replaces no state"):
        sgl.function(body).run()


def test_a_tuple_has_a_part_for_each_fork_and_a_string_is_the_same_for_all(backend):
    def body(s):
        forks = s.fork(2)
        forks += ("a", "bb")
        forks += "!" + sgl.gen("x")
        forks.join()

    assert sgl.function(body).run()["x"] == ["<2>", "<3>"]


def test_documents_are_written_side_by_side_inside_an_open_role(backend):
    def body(s, docs):
        s += sgl.user_begin()
        s += "("
        forks = s.fork(len(docs))
        forks += lambda i: docs[i]
        forks.join("concate_and_append")
        s += ")" + sgl.user_end()
        s += sgl.assistant(sgl.gen("a"))

    assert sgl.function(body).run(docs=["x", "y"]).messages()[0] == {"role": "user", "content": "(xy)"}


@sgl.function
def qa(s, question, style="plain"):
    s += f"{style} Q: {question} A:"
    s += sgl.gen("answer")


def test_a_call_outside_of_programs_runs_with_the_keywords_of_run(backend):
    assert qa("why?", temperature=0.5)["answer"] == qa.run("why?")["answer"] == "<16>"
    assert backend.calls[0].params == {"temperature": 0.5}
    state = qa(question="why?", stream=True, max_new_tokens=7)
    assert "".join(state.text_iter()) == "plain Q: why? A:<16>"
    assert backend.calls[-1].params == {"max_new_tokens": 7}
    assert backend.calls[-1].is_streamed


def test_a_call_without_a_state_inside_a_program_is_a_run_of_its_own_on_the_same_backend():
    inside = ScriptedBackend(lambda text: f"[{text}]")

    outer = sgl.function(lambda s: [s.__iadd__("o" + qa(question="x", style="")["answer"]), qa(s, "y")])
    assert outer.run(backend=inside).text().startswith("o[ Q: x A:]plain Q: y A:[")


def test_a_call_without_a_state_asks_nothing_while_the_prefix_of_a_batch_is_looked_for(backend):
    @sgl.function
    def outer(s, i):
        s += "shared "
        s += qa(question="x")["answer"] + i

    outer.run_batch([{"i": "a"}, {"i": "b"}])
    assert len(backend.calls) == 2
    assert [prompt.plain_text for prompt in backend.warmed] == ["shared "]


def test_a_batch_takes_its_inputs_in_order_too(backend):
    states = qa.run_batch([("a",), ["b", "fancy"], {"question": "c"}])
    assert [state.text() for state in states] == ["plain Q: a A:<13>", "fancy Q: b A:<13>", "plain Q: c A:<13>"]
    with pytest.raises(ProgramMistake, match="3 inputs are given"):
        qa.run_batch([("a", "b", "c")])
    with pytest.raises(InvalidRequest, match="a list of dicts"):
        qa.run_batch(["abc"])


def test_a_copy_keeps_its_names_and_drops_its_text(backend):
    def body(s):
        s += "a"
        with s.copy() as trial:
            trial += "bcd" + sgl.gen("x")
        s += "e"

    state = sgl.function(body).run()
    assert (state.text(), state["x"]) == ("ae", ["<4>"])


def test_positions_of_a_fork_cannot_be_moved(backend):
    with pytest.raises(NotSupported, match="position_ids_offset"):
        sgl.function(lambda s: s.fork(2, [0, 1])).run()
    assert len(sgl.function(lambda s: s.fork(size=2, position_ids_offset=None)).run().ret_value) == 2


def test_a_state_as_text_is_all_of_it(backend):
    state = qa.run("x")
    assert str(state)[len("ProgramState(") : -1] == state.text()


def test_an_empty_role_is_an_empty_message(backend):
    state = sgl.function(lambda s: s.__iadd__(sgl.system() + sgl.user("hi"))).run()
    assert state._executor.text.parts == (RoleBegin("system"), RoleEnd("system"), RoleBegin("user"), Text("hi"), RoleEnd("user"))


def test_a_stream_in_an_event_loop_can_bring_the_meta_information():
    sgl.set_default_backend(ScriptedBackend(lambda text: "one two"))

    async def read(state, **more):
        return [pair async for pair in state.text_async_iter("answer", **more)]

    pairs = asyncio.run(read(qa.run("x", stream=True), return_meta_data=True))
    assert "".join(text for text, _ in pairs) == "one two"
    assert pairs[-1][1]["completion_tokens"] == 2
    with pytest.raises(InvalidRequest, match="needs a variable"):
        asyncio.run(anext(qa.run("x", stream=True).text_async_iter(return_meta_data=True)))
    sgl.set_default_backend(None)


def test_what_a_program_begins_with_can_be_computed_before_it_runs(backend):
    qa.bind(style="polite").cache()
    (prompt,) = backend.warmed
    assert prompt.plain_text == "polite Q: "
    assert qa.compile().run(question="x").text() == qa.run("x").text()


def test_both_names_of_the_length_hold_and_not_together(backend):
    sgl.function(lambda s: s.__iadd__(sgl.gen("x", max_new_tokens=3))).run()
    assert backend.calls[0].params == {"max_new_tokens": 3} == sgl.gen("x", 3).params
    with pytest.raises(InvalidRequest, match="max_tokens and max_new_tokens are given, and mean the same"):
        sgl.gen("x", 3, max_new_tokens=4)
    with pytest.raises(InvalidRequest, match="mean the same"):
        qa.run("x", max_tokens=3, max_new_tokens=4)


WEATHER = {"name": "weather", "description": "The weather of a town.", "parameters": {"type": "object"}}


@pytest.mark.parametrize("tool", [WEATHER, {"type": "function", "function": WEATHER}])
def test_tools_without_roles_stand_before_the_text_in_the_default_format(backend, tool):
    state = sgl.function(lambda s: s.__iadd__("Rain?" + sgl.gen("x", tools=[tool]))).run()
    told, _, text = state.text().partition("\n\n")
    assert json.loads(told.splitlines()[1]) == WEATHER
    assert text == f"Rain?<{len(told) + 7}>"
    assert "The weather of a town." in state.show().to_text()
    assert "The weather of a town." in state.show().to_html()


def test_a_tool_is_a_description_with_a_name():
    with pytest.raises(InvalidRequest, match="dicts with name, description and parameters"):
        sgl.gen("x", tools=[print])
    with pytest.raises(InvalidRequest, match="tools"):
        sgl.gen("x", tools=[{"description": "no name"}])
