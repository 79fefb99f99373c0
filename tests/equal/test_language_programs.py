"""The example programs of the reference's manual on the real default model: in this process, and over HTTP to the same engine."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import signal
import threading
import time
from enum import StrEnum

import jsonschema
import pytest
from native_server import serving
from pydantic import BaseModel, Field

import workbench as sgl
from workbench.errors import BackendFailed, BackendLacks, InvalidRequest
from workbench.text.chat import facts

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def engine():
    with sgl.Engine("smollm2-135m", dtype="float32", max_total_tokens=20_000, random_seed=0, chunked_prefill_size=256) as engine:
        yield engine


@pytest.fixture(scope="module")
def address(engine):
    with serving(engine, facts(engine.tokenizer)) as (url, _):
        yield url


@pytest.fixture(params=["engine", "http"])
def backend(request, engine, address):
    """The default backend of the test, with an empty cache."""
    engine.flush_cache()
    chosen = engine if request.param == "engine" else sgl.RuntimeEndpoint(address)
    sgl.set_default_backend(chosen)
    yield chosen
    sgl.set_default_backend(None)


def ids(engine, text):
    return engine.tokenizer(text, add_special_tokens=False)["input_ids"]


# -- text (rows A2-A6, A28, A32, A33) -----------------------------------------------------------------------------


@sgl.function
def text_qa(s, question):
    s += "Q: " + question + "\n"
    s += "A:" + sgl.gen("answer", stop="\n", max_tokens=24)


def test_text_questions_stop_at_the_newline_and_say_what_the_engine_says(engine, backend):
    state = text_qa.run(question="What is the capital of France?", temperature=0)
    alone = engine.generate("Q: What is the capital of France?\nA:", {"temperature": 0, "max_new_tokens": 24, "stop": "\n"})
    assert state["answer"] == alone["text"]
    assert "\n" not in state["answer"]
    assert state.text() == "Q: What is the capital of France?\nA:" + state["answer"]
    assert state.get_meta_info("answer")["finish_reason"] == {"type": "stop", "matched": "\n"}


def test_a_stream_gives_the_same_text_in_pieces(backend):
    whole = text_qa.run(question="Name three colors.", temperature=0)
    state = text_qa.run(question="Name three colors.", temperature=0, stream=True)
    pieces = list(state.text_iter())
    assert "".join(pieces) == whole.text() == state.text()
    assert len(pieces) > 4
    assert "".join(state.text_iter("answer")) == whole["answer"]


def test_a_stream_in_an_event_loop_gives_the_same_text(backend):
    async def read():
        state = text_qa.run(question="Name three colors.", temperature=0, stream=True)
        return "".join([piece async for piece in state.text_async_iter("answer")]), state

    text, state = asyncio.run(read())
    assert text == state["answer"]


def test_unnamed_generations_and_expressions_in_any_order(backend):
    @sgl.function
    def program(s):
        s += "One, two," + sgl.gen(max_tokens=3, temperature=0) + " and " + sgl.gen("last", max_tokens=3, temperature=0) + "."

    state = program.run()
    assert state.text() == "One, two," + state.text()[9:].split(" and ")[0] + " and " + state["last"] + "."
    assert len(state.calls) == 2


# -- constraints (rows A7-A9, A11, gen_int and its kin) -----------------------------------------------------------


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_regex_holds_at_any_temperature(backend, temperature):
    @sgl.function
    def address_of(s):
        s += "Q: What is the IP address of the Google DNS servers?\nA: "
        s += sgl.gen("ip", temperature=temperature, regex=r"((25[0-5]|2[0-4]\d|[01]?\d\d?).){3}(25[0-5]|2[0-4]\d|[01]?\d\d?)")

    assert re.fullmatch(r"((25[0-5]|2[0-4]\d|[01]?\d\d?).){3}(25[0-5]|2[0-4]\d|[01]?\d\d?)", address_of.run()["ip"])


class House(StrEnum):
    gryffindor = "Gryffindor"
    slytherin = "Slytherin"


class Character(BaseModel):
    name: str = Field(pattern=r"^[A-Z][a-z]{2,8}$")
    house: House
    age: int = Field(ge=0, le=200)


@pytest.mark.parametrize("form", [Character, Character.model_json_schema(), json.dumps(Character.model_json_schema())])
def test_json_follows_a_schema_in_every_form(backend, form):
    @sgl.function
    def character(s, name):
        s += (
            name
            + " is a character in Harry Potter. As JSON:\n"
            + sgl.gen("json", json_schema=form, max_tokens=128, temperature=0)
        )

    found = json.loads(character.run("Hermione")["json"])
    jsonschema.validate(found, Character.model_json_schema())
    Character.model_validate(found)


def test_a_grammar_holds_by_both_names(backend):
    grammar = 'root ::= "The " color " house"\ncolor ::= "red" | "blue"'

    @sgl.function
    def painted(s):
        s += "I saw: " + sgl.gen("a", ebnf=grammar) + " and " + sgl.gen("b", grammar=grammar)

    state = painted.run(temperature=0)
    assert {state["a"], state["b"]} <= {"The red house", "The blue house"}


def test_typed_generations_are_python_literals(backend):
    @sgl.function
    def typed(s):
        s += "2 + 3 = " + sgl.gen_int("int", max_tokens=4) + ". Pi is about " + sgl.gen("float", dtype=float, max_tokens=6)
        s += (
            ". It is true or false: "
            + sgl.gen("bool", dtype=bool)
            + ". Her name is "
            + sgl.gen_string("str", max_tokens=40, stop="zzz")
        )

    state = typed.run(temperature=0)
    assert re.fullmatch(r"[-+]?\d+", state["int"])
    assert float(state["float"]) is not None
    assert state["bool"] in ("True", "False")
    assert state["str"].startswith('"')


@pytest.mark.parametrize("dtype, longest", [(int, 17), (float, 15)])
def test_a_number_ends_where_the_model_ends_it_and_not_at_the_limit_of_its_digits(backend, dtype, longest):
    @sgl.function
    def age(s):
        s += "Anna, Age: 23.\nBob, Age: 41.\nLena, Age: " + sgl.gen("age", dtype=dtype, stop="zzz")

    state = age.run(temperature=0)
    assert dtype(state["age"]) > 0
    assert len(state["age"]) <= longest
    assert state.get_meta_info("age")["finish_reason"]["matched"] in (" ", ".", ",", ";", "\n")
    assert state.text().endswith("Age: " + state["age"])


def test_choices_steer_the_program(backend):
    @sgl.function
    def tool_use(s, question):
        s += "To answer this question: " + question + ". "
        s += "I need to use a " + sgl.gen("tool", choices=["calculator", "search engine"]) + ". "
        if s["tool"] == "calculator":
            s += "The math expression is" + sgl.gen("expression", max_tokens=8)
        elif s["tool"] == "search engine":
            s += "The key word to search is" + sgl.gen("word", max_tokens=8)

    state = tool_use.run(question="What is 5 * 7?", temperature=0)
    assert state["tool"] in ("calculator", "search engine")
    assert ("expression" in state) == (state["tool"] == "calculator")
    assert ("word" in state) == (state["tool"] == "search engine")


# -- forks (rows A19-A22) -----------------------------------------------------------------------------------------


@sgl.function
def tip_suggestion(s):
    s += "Here are two tips for staying healthy: 1. Balanced Diet. 2. Regular Exercise.\n\n"
    forks = s.fork(2)
    for i, f in enumerate(forks):
        f += f"Now, expand tip {i + 1} into a paragraph:\n"
        f += sgl.gen("detailed_tip", max_tokens=16, stop="\n\n")
    s += "Tip 1:" + forks[0]["detailed_tip"] + "\n"
    s += "Tip 2:" + forks[1]["detailed_tip"] + "\n"
    s += "In summary" + sgl.gen("summary", max_tokens=8)
    return [f["detailed_tip"] for f in forks]


def test_forks_go_on_from_one_prefix_and_come_back_into_the_parent(engine, backend):
    state = tip_suggestion.run(temperature=0)
    first, second = state.ret_value
    start = "Here are two tips for staying healthy: 1. Balanced Diet. 2. Regular Exercise.\n\n"
    assert state.text() == f"{start}Tip 1:{first}\nTip 2:{second}\nIn summary{state['summary']}"
    shared = len(ids(engine, start))
    tips = [call for call in state.calls if call.name == "detailed_tip"]
    assert len(tips) == 2
    assert all(call.cached_tokens >= shared - 1 for call in tips)


def test_eight_forks_compute_a_long_prefix_once(engine, backend):
    prefix = " ".join(f"Fact {i}: {i} times {i} is {i * i}." for i in range(45)) + "\n"

    @sgl.function
    def asked(s):
        s += prefix
        forks = s.fork(8)
        for i, f in enumerate(forks):
            f += f"Question {i}:" + sgl.gen("x", max_tokens=2)
        forks.join()

    shared = len(ids(engine, prefix))
    assert shared > 500
    state = asked.run(temperature=0)
    assert len(state["x"]) == 8
    own = len(ids(engine, "Question 0:"))
    assert all(call.computed_tokens <= own + 1 for call in state.calls)
    assert all(call.cached_tokens >= shared - 1 for call in state.calls)


# -- conversations (rows A23-A27, A34, A47) -----------------------------------------------------------------------


@sgl.function
def chat_example(s, first, second):
    s += sgl.system("You are a helpful assistant.")
    with s.user():
        s += first
    s += sgl.assistant(sgl.gen("a1", max_tokens=12))
    s += s.user(second)
    s += sgl.assistant_begin() + "Answer: " + sgl.gen("a2", max_tokens=12, stop="\n") + sgl.assistant_end()


def test_a_conversation_is_the_models_own_template_token_for_token(engine, backend, monkeypatch):
    sent = []
    real = engine.generate

    def spy(prompt=None, sampling_params=None, *, input_ids=None, **more):
        sent.append(tuple(input_ids) if input_ids is not None else tuple(engine.tokenizer(prompt)["input_ids"]))
        return real(prompt, sampling_params, input_ids=input_ids, **more)

    monkeypatch.setattr(engine, "generate", spy)
    state = chat_example.run("Name a river.", "And a lake?", temperature=0)
    monkeypatch.undo()
    messages = state.messages()
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant"]
    assert messages[2]["content"] == state["a1"]
    assert messages[4]["content"] == "Answer: " + state["a2"]
    template = engine.tokenizer.apply_chat_template
    assert state.text() == template(messages, tokenize=False)
    asked = [template(messages[:2], tokenize=False, add_generation_prompt=True),
             template(messages[:4], tokenize=False, add_generation_prompt=True) + "Answer: "]  # fmt: skip
    assert sent == [tuple(ids(engine, text)) for text in asked]


def test_each_turn_reuses_the_turns_before_it(engine, backend):
    @sgl.function
    def turns(s, questions):
        for i, question in enumerate(questions):
            s += "User: " + question + "\nAssistant:" + sgl.gen(f"turn_{i}", max_tokens=10, stop="\n") + "\n"

    state = turns.run(questions=["Hello!", "Name a color.", "Another?"], temperature=0)
    calls = state.calls
    for before, after in itertools.pairwise(calls):
        assert after.cached_tokens >= before.prompt_tokens + before.completion_tokens - 2
    assert [call.name for call in calls] == ["turn_0", "turn_1", "turn_2"]


def test_a_history_of_messages_is_an_input_like_any_other(backend):
    @sgl.function
    def go_on(s, history):
        for message in history:
            s += sgl.user(message["content"]) if message["role"] == "user" else sgl.assistant(message["content"])
        s += sgl.assistant(sgl.gen("reply", max_tokens=8))

    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Bye"}]
    state = go_on.run(history=history, temperature=0)
    assert state.messages() == [*history, {"role": "assistant", "content": state["reply"]}]


# -- batches (rows A29-A31) ---------------------------------------------------------------------------------------


def test_a_batch_gives_each_program_what_it_gives_alone(backend):
    questions = ["What is the capital of France?", "What is 2 + 2?", "Who wrote Hamlet?", "What is the largest planet?"]
    states = text_qa.run_batch([{"question": q} for q in questions], temperature=0)
    alone = [text_qa.run(question=q, temperature=0)["answer"] for q in questions]
    assert [state["answer"] for state in states] == alone
    bound = sgl.run_batch([text_qa.bind(question=q) for q in questions], temperature=0, num_threads=2)
    assert [state["answer"] for state in bound] == alone


def test_a_batch_computes_its_examples_once(engine, backend):
    examples = "".join(f"Q: What is {i} plus {i}?\nA: {2 * i}\n\n" for i in range(20))

    @sgl.function
    def few_shot(s, examples, number):
        s += examples
        s += f"Q: What is {number} plus {number}?\nA:" + sgl.gen("sum", max_tokens=3, stop="\n")

    states = few_shot.run_batch([{"examples": examples, "number": i} for i in range(16)], temperature=0)
    shared = len(ids(engine, examples))
    assert shared > 250
    assert all(state.calls[0].cached_tokens >= shared - 1 for state in states)


# -- select (rows A12-A17) ----------------------------------------------------------------------------------------


def test_a_select_computes_its_prompt_once_however_many_options(engine, backend):
    prompt = "A list of facts. " * 40 + "The capital of France is"
    options = [f" option number {i} of many" for i in range(16)]

    @sgl.function
    def choose(s):
        s += prompt + sgl.select("x", options)

    (call,) = choose.run().calls
    num_prompt = len(ids(engine, prompt))
    longest = max(len(ids(engine, option)) for option in options)
    assert call.prompt_tokens > 16 * num_prompt
    assert call.computed_tokens <= num_prompt + 17 * (longest + 4)
    assert choose.run().get_meta_info("x")["computed_tokens"] <= 18 * (longest + 4)


# -- housekeeping -------------------------------------------------------------------------------------------------


def test_the_cache_can_be_flushed_and_the_server_asked(engine, backend):
    text_qa.run(question="Warm?", temperature=0)
    assert text_qa.run(question="Warm?", temperature=0).calls[0].cached_tokens > 5
    sgl.flush_cache()
    assert text_qa.run(question="Warm?", temperature=0).calls[0].cached_tokens == 0
    assert sgl.get_server_info()["model_path"] == "smollm2-135m"


def test_several_samples_and_log_probabilities(engine, backend):
    @sgl.function
    def sampled(s):
        s += "Once upon a time" + sgl.gen("x", max_tokens=4, n=3, return_logprob=True, top_logprobs_num=2, seed=7)

    state = sampled.run()
    assert len(state["x"]) == 3
    assert state.text() == "Once upon a time" + state["x"][0]
    meta = state.get_meta_info("x")
    assert [len(one["output_token_logprobs"]) for one in meta] == [one["completion_tokens"] for one in meta]
    assert all(len(top) == 2 for top in meta[0]["output_top_logprobs"])


def test_what_cannot_be_said_is_an_error_with_its_line(backend):
    @sgl.function
    def pictured(s):
        s += sgl.user(sgl.image("cat.png") + "What is this?")
        s += sgl.assistant(sgl.gen("x"))

    with pytest.raises(BackendLacks, match="cannot do: image") as caught:
        pictured.run()
    assert 's += sgl.user(sgl.image("cat.png")' in str(caught.value)

    @sgl.function
    def too_long(s):
        s += "x" + sgl.gen("x", max_tokens=100_000)

    with pytest.raises((InvalidRequest, BackendFailed), match="at most 8191 after a prompt of 1") as caught:
        too_long.run()
    assert "program too_long, line" in str(caught.value)


def test_an_interrupt_leaves_nothing_running(engine, backend):
    @sgl.function
    def endless(s):
        s += "On and on"
        with s.fork(3) as forks:
            forks += lambda i: f" {i}" + sgl.gen("x", max_tokens=2000, ignore_eos=True)
        return s["x"]

    def running():
        return engine.get_server_info()["num_running"]

    def watch():
        while running() < 3:
            time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        endless.run()
    deadline = time.monotonic() + 60
    while running() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert running() == 0
    assert text_qa.run(question="Still there?", temperature=0)["answer"]


def test_an_edit_generates_what_follows_it_on_the_cache(backend):
    state = chat_example.run("Name a river.", "And a lake?", temperature=0)
    again = state.rerun(edit={"a1": "The Nile."})
    assert again.messages()[2]["content"] == "The Nile."
    assert [call.name for call in again.calls] == ["a2"]
    assert again.calls[0].cached_tokens > 15


def test_a_picture_of_a_run_names_its_parts_and_requests(backend):
    state = tip_suggestion.run(temperature=0)
    shown = str(state.show())
    assert shown.count("gen detailed_tip") == 2
    assert all(call.rid in shown for call in state.calls)
    assert repr(state["summary"]) in shown
