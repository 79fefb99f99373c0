"""The interpreter on a scripted backend: waiting, variables, roles, errors, interrupts, streams and reruns."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from scripted_backend import ScriptedBackend

import workbench as sgl
from workbench.errors import (
    Aborted,
    BackendFailed,
    BackendLacks,
    InvalidRequest,
    NotSupported,
    ProgramMistake,
    UnknownParameter,
    UnknownVariable,
)
from workbench.events import PartFinished, PartReached, ProgramFinished, ProgramStarted, RequestLinked
from workbench.lang.backends.base import Piece
from workbench.lang.batch import ProgramFailed
from workbench.lang.program import RoleLeftOpen


@pytest.fixture
def backend():
    return ScriptedBackend()


def run(body, backend, **inputs):
    return sgl.function(body).run(backend=backend, **inputs)


# -- what waits ---------------------------------------------------------------------------------------------------


def test_gen_does_not_wait_and_reading_does(backend):
    backend.gate.clear()
    seen = []

    def body(s):
        s += "a" + sgl.gen("x") + "b" + sgl.gen("y")
        seen.append(backend.gate.is_set())
        threading.Timer(0.1, backend.gate.set).start()
        seen.append(s["x"])
        seen.append(backend.gate.is_set())

    state = run(body, backend)
    assert seen == [False, "<1>", True]
    assert state["y"] == "<5>"
    assert state.text() == "a<1>b<5>"


def test_forks_ask_at_the_same_time_and_one_state_asks_in_order(backend):
    barrier = threading.Barrier(4, timeout=60)
    backend.answer = lambda text: str(barrier.wait() is not None)

    def body(s):
        s += "go "
        forks = s.fork(4)
        for f in forks:
            f += sgl.gen("x")
        assert [f["x"] for f in forks] == ["True"] * 4

    run(body, backend)
    assert backend.most_inside == 4
    backend.answer, backend.most_inside = (lambda text: "."), 0
    assert run(lambda s: [s.__iadd__(sgl.gen(f"v{i}")) for i in range(5)], backend).text() == "....."
    assert backend.most_inside == 1


def test_a_fork_waits_for_what_its_parent_was_given_and_then_goes_its_own_way(backend):
    backend.gate.clear()

    def body(s):
        s += "p" + sgl.gen("parent")
        left, right = s.fork(2)
        left += "L" + sgl.gen("x")
        right += "R"
        s += "after"
        backend.gate.set()
        return [left.text(), right.text(), left["parent"], left["x"]]

    state = run(body, backend)
    assert state.ret_value == ["p<1>L<5>", "p<1>R", "<1>", "<5>"]
    assert state.text() == "p<1>after"
    assert "x" not in state
    assert [prompt.plain_text for prompt in backend.warmed] == ["p<1>"]


def test_joins_gather_lists_or_append_texts(backend):
    def gather(s):
        s += "q"
        with s.fork(3) as forks:
            forks += lambda i: f"{i}" * (i + 1) + sgl.gen("n")
        s += " all: " + ",".join(s["n"])

    def append(s):
        s += "q"
        forks = s.fork(2)
        forks += ["a", "b" + sgl.gen("n")]
        forks.join("concate_and_append")
        s += "!" + sgl.gen("end")

    assert run(gather, backend).text() == "q all: <2>,<3>,<4>"
    assert run(append, backend).text() == "qab<2>!<7>"
    with pytest.raises(InvalidRequest, match="mode is 'x'"):
        run(lambda s: s.fork(2).join("x"), backend)


def test_a_state_can_go_on_after_its_run(backend):
    state = run(lambda s: s.__iadd__("a" + sgl.gen("x")), backend)
    state += "b" + sgl.gen("y")
    assert state["y"] == "<5>"


# -- variables ----------------------------------------------------------------------------------------------------


def test_a_repeated_name_keeps_its_last_value_and_its_history(backend):
    def body(s):
        for i in range(3):
            s += "." * i + sgl.gen("x")

    state = run(body, backend)
    assert state["x"] == state.get_var("x") == "<9>"
    assert state.history("x") == ["<0>", "<4>", "<9>"]
    meta = state.get_meta_info("x")
    assert (meta["prompt_tokens"], meta["cached_tokens"], meta["computed_tokens"]) == (10, 4, 6)
    assert [call.computed_tokens for call in state.calls] == [6, 6, 6]
    assert [call.rid for call in state.calls] == [call.rid for call in backend.calls]


def test_a_scope_binds_all_text_inside(backend):
    def body(s):
        s += "0"
        with s.var_scope("outer"):
            s += "1" + sgl.gen("x")
            with s.var_scope("inner"):
                s += "2"
        s += "3"

    state = run(body, backend)
    assert (state["outer"], state["inner"], state.text()) == ("1<2>2", "2", "01<2>23")


def test_values_of_the_programs_own_and_membership(backend):
    def body(s):
        s["k"] = 3
        s += sgl.gen("x")
        assert "x" in s
        assert "y" not in s
        assert s.get("y", 1) == 1
        return s["k"]

    assert run(body, backend).ret_value == 3


def test_a_name_that_nothing_makes_is_an_error_with_the_nearest_name_and_the_line(backend):
    def body(s):
        s += sgl.gen("answer")
        return s["anwser"]

    with pytest.raises(UnknownVariable) as caught:
        run(body, backend)
    assert isinstance(caught.value, KeyError)
    lines = caught.value._render_traceback_()
    assert len(lines) == 2
    assert 'return s["anwser"]' in lines[0]
    assert "did you mean 'answer'?" in lines[1]


def test_several_samples_are_a_list_and_the_text_goes_on_with_the_first(backend):
    state = run(lambda s: s.__iadd__("a" + sgl.gen("x", n=3)), backend)
    assert state["x"] == ["<1>"] * 3
    assert state.text() == "a<1>"
    assert len(state.get_meta_info("x")) == 3


# -- roles --------------------------------------------------------------------------------------------------------

CONVERSATION = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U1"},
    {"role": "assistant", "content": "A: <33>"},
]


def as_functions(s):
    s += sgl.system("S")
    s += sgl.user("U" + "1")
    s += sgl.assistant("A: " + sgl.gen("a"))


def as_methods(s):
    s += s.system("S")
    s.user("U1")
    s += s.assistant("A: " + sgl.gen("a"))


def as_contexts(s):
    with s.system():
        s += "S"
    with s.user():
        s += "U"
        s += "1"
    with s.assistant():
        s += "A: "
        s += sgl.gen("a")


def as_marks(s):
    s += sgl.system_begin() + "S" + sgl.system_end()
    s += sgl.user_begin()
    s += "U1"
    s += sgl.user_end()
    s += sgl.assistant_begin()
    s += "A: " + sgl.gen("a")
    s += sgl.assistant_end()


@pytest.mark.parametrize("body", [as_functions, as_methods, as_contexts, as_marks])
def test_roles_are_the_same_in_every_form(backend, body):
    state = run(body, backend)
    assert state.messages() == CONVERSATION
    (call,) = backend.calls
    assert call.prompt.messages[-1] == {"role": "assistant", "content": "A: "}
    assert call.prompt.turns[-1].is_open


def test_a_role_method_inside_a_concatenation_stands_where_it_is_written(backend):
    def body(s):
        s += "x" + s.user("u") + "y"
        s.user("v")
        return s.messages()

    state = run(body, backend)
    assert state.ret_value == [{"role": "user", "content": "u"}, {"role": "user", "content": "v"}]
    assert [turn.role for turn in state._executor.text.prompt().turns] == [None, "user", None, "user"]


def test_an_open_role_is_a_warning_and_roles_do_not_nest(backend):
    def left_open(s):
        s += "x"
        s += sgl.assistant_begin() + "y"

    with pytest.warns(RoleLeftOpen, match="inside the role assistant") as caught:
        run(left_open, backend)
    assert (caught[0].filename, caught[0].lineno) == (__file__, left_open.__code__.co_firstlineno + 2)
    with pytest.raises(InvalidRequest, match="a message of role user begins inside one of role system"):
        run(lambda s: s.__iadd__(sgl.system(sgl.user("x"))), backend)
    with pytest.raises(InvalidRequest, match=r"user_end\(\) stands where no message"):
        run(lambda s: s.__iadd__(sgl.user_end()), backend)


def test_a_picture_for_a_backend_without_pictures_is_refused_at_its_own_line(backend):
    backend.features = backend.features - {"image"}

    def look(s):
        s += sgl.user(sgl.image("cat.png") + "What is it?")
        s += sgl.assistant(sgl.gen("answer"))

    with pytest.raises(BackendLacks, match="cannot do: image") as caught:
        run(look, backend)
    assert caught.value.place.line == look.__code__.co_firstlineno + 1
    assert "RuntimeEndpoint" not in caught.value.hint
    with pytest.raises(InvalidRequest, match="image is None"):
        sgl.image(None)


def test_a_state_plus_text_names_what_was_meant(backend):
    with pytest.raises(ProgramMistake, match=r"s \+= \.\.\."):
        run(lambda s: s + "x", backend)


def test_a_name_that_nobody_made_is_reported_with_the_readers_line(backend):
    state = run(lambda s: s.__iadd__(sgl.gen("x")), backend)
    with pytest.raises(UnknownVariable) as caught:
        state["y"]
    assert 'state["y"]' in caught.value.message
    assert caught.value.message.count("line ") == 1


@pytest.mark.parametrize("edit", ["x", {"x": 5}, {"x": None}])
def test_an_edit_that_is_no_text_is_refused(backend, edit):
    state = sgl.function(lambda s: s.__iadd__(sgl.gen("x"))).run(backend=backend)
    with pytest.raises(InvalidRequest, match="a dict from names to texts"):
        state.rerun(edit=edit)


def test_samples_are_summed_and_all_shown(backend):
    state = run(lambda s: s.__iadd__("Name:" + sgl.gen("x", n=3)), backend)
    infos = state.get_meta_info("x")
    assert state.calls[0].prompt_tokens == sum(info["prompt_tokens"] for info in infos)
    assert all(repr(text) in str(state.show()) for text in state["x"])


def test_an_image_in_a_role_is_a_content_part(backend):
    state = run(lambda s: s.__iadd__(sgl.user(sgl.image("cat.png") + "What is it?")), backend)
    assert state.messages()[0]["content"] == [
        {"type": "image_url", "image_url": {"url": "cat.png"}}, {"type": "text", "text": "What is it?"}
    ]  # fmt: skip


# -- errors -------------------------------------------------------------------------------------------------------


def failing(text):
    if "boom" in text:
        raise BackendFailed("it broke", hint="mend it")
    return "ok"


def test_a_failure_surfaces_at_the_read_and_at_the_end_with_its_line_and_ends_what_follows():
    backend = ScriptedBackend(failing)
    reads = []

    def body(s):
        s += "a" + sgl.gen("x")
        s += "boom" + sgl.gen("y")  # the line to blame
        s += "more" + sgl.gen("z")
        for name in ("x", "y", "z"):
            try:
                reads.append(s[name])
            except BackendFailed as error:
                reads.append(error)

    with pytest.raises(BackendFailed) as caught:
        run(body, backend)
    assert reads == ["ok", caught.value, caught.value]
    first, second = caught.value._render_traceback_()
    assert "it broke (program body, line " in first
    assert 's += "boom" + sgl.gen("y")' in first
    assert second.strip() == "mend it"
    assert len(backend.calls) == 2


def test_a_failure_in_a_fork_nobody_reads_still_ends_the_run():
    def body(s):
        for f in s.fork(2):
            f += "boom" + sgl.gen("x")

    with pytest.raises(BackendFailed, match="it broke"):
        run(body, ScriptedBackend(failing))


def test_a_failure_before_a_fork_reaches_children_and_joins():
    def body(s):
        s += "boom" + sgl.gen("x")
        with s.fork(2) as forks:
            forks += sgl.gen("y")
        return s["y"]

    with pytest.raises(BackendFailed, match="it broke"):
        run(body, ScriptedBackend(failing))


def test_an_error_of_the_programs_own_comes_through_and_ends_what_is_open(backend):
    backend.gate.clear()

    def body(s):
        s += sgl.gen("x")
        while not backend.calls:
            time.sleep(0.001)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        run(body, backend)
    assert any("program body, line" in note for note in caught.value.__notes__)
    assert backend.aborted == [backend.calls[0].rid]


def test_a_generation_that_the_engine_aborted_is_an_error(backend):
    backend.generate = lambda call: iter([Piece("part", 0, {"finish_reason": {"type": "abort", "message": "timed out"}})])
    with pytest.raises(Aborted, match="timed out"):
        run(lambda s: s.__iadd__(sgl.gen("x")), backend)


@pytest.mark.parametrize(
    "expr, feature",
    [
        (lambda: sgl.image("cat.png") + sgl.gen("x"), "image"),
        (lambda: "a" + sgl.gen("x", regex="a"), "regex"),
        (lambda: "a" + sgl.gen("x", json_schema={"type": "object"}), "json_schema"),
        (lambda: "a" + sgl.gen("x", grammar='root ::= "a"'), "ebnf"),
        (lambda: "a" + sgl.gen_int("x"), "dtype"),
        (lambda: "a" + sgl.gen("x", n=2), "n"),
        (lambda: "a" + sgl.gen("x", return_logprob=True), "logprobs"),
        (lambda: "a" + sgl.gen("x", top_k=3), "top_k"),
        (lambda: "a" + sgl.gen("x", tools=[{"name": "f"}]), "tools"),
        (lambda: "a" + sgl.select("x", ["a", "b"]), "select"),
        (lambda: "a" + sgl.gen("x", choices=["a"], choices_method=sgl.greedy_token_selection), "select"),
        (lambda: sgl.user("a" + sgl.gen("x")), "chat"),
    ],
)
def test_what_a_backend_lacks_is_a_two_line_error_with_backend_feature_and_line(backend, expr, feature):
    backend.features = frozenset({"completion"})
    with pytest.raises(BackendLacks) as caught:
        run(lambda s: s.__iadd__(expr()), backend)
    assert (caught.value.backend, caught.value.feature) == ("Scripted", feature)
    assert caught.value._render_traceback_()[0].startswith(
        f"BackendLacks: Scripted cannot do: {feature} (program <lambda>, line "
    )
    assert not backend.calls


def test_what_cannot_be_warmed_is_no_failure_of_its_own(backend):
    def refuse(prompt):
        raise BackendFailed("half a conversation")

    backend.warm = refuse
    program = sgl.function(lambda s, i: [s.__iadd__("a"), s.fork(2), s.__iadd__(f"{i}" + sgl.gen("x"))])
    assert [state["x"] for state in program.run_batch([{"i": 1}, {"i": 2}], backend=backend)] == ["<2>", "<2>"]


def test_nothing_hangs_in_a_thread_pool_when_programs_fail():
    backend = ScriptedBackend(failing)

    @sgl.function
    def program(s):
        s += "boom" + sgl.gen("x")
        with s.fork(2) as forks:
            forks += sgl.gen("y")
        return s["y"]

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(program.run, backend=backend) for _ in range(12)]
        assert {type(future.exception(timeout=60)) for future in futures} == {BackendFailed}


# -- interrupts ---------------------------------------------------------------------------------------------------


def interrupt_when(ready):
    def watch():
        while not ready():
            time.sleep(0.005)
        time.sleep(0.05)  # the main thread waits by now
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def test_an_interrupt_in_run_aborts_every_open_generation(backend):
    backend.gate.clear()
    states = []

    def body(s):
        states.append(s)
        for f in s.fork(3):
            f += sgl.gen("x")
            states.append(f)
        s += sgl.gen("y")
        return s["y"]

    interrupt_when(lambda: len(backend.calls) == 4)
    with pytest.raises(KeyboardInterrupt):
        run(body, backend)
    assert sorted(backend.aborted) == sorted(call.rid for call in backend.calls)
    for state, name in zip(states, ["y", "x", "x", "x"], strict=True):
        with pytest.raises(Aborted):
            state[name]


def test_an_abort_that_comes_when_a_call_is_over_is_not_kept(backend):
    """An id is used once: what is kept of it would stay for ever."""
    with monkeypatched(backend, "abort", lambda rid: (backend.gate.set(), wait_until(lambda: not run_state._open))):
        backend.gate.clear()
        state = sgl.function(lambda s: s.__iadd__(sgl.gen("x"))).run(backend=backend, stream=True)
        run_state = state._executor.run
        wait_until(lambda: backend.calls)
        run_state.abort()
    assert len(backend.aborted) == 1
    assert backend._aborted == set()


@contextmanager
def monkeypatched(backend, name, before):
    """Calls `before` with its arguments ahead of a method."""
    method = getattr(backend, name)
    setattr(backend, name, lambda *args: (before(*args), method(*args))[1])
    yield
    delattr(backend, name)


def wait_until(ready):
    while not ready():
        time.sleep(0.001)


def test_states_for_which_no_thread_is_left_say_so(backend, monkeypatch):
    start, num_left = threading.Thread.start, [3]

    def bounded(thread):
        if thread.name.startswith("workbench-"):
            if not num_left[0]:
                raise RuntimeError("can't start new thread")
            num_left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", bounded)

    def body(s):
        s += "a"
        forks = s.fork(5)
        for f in forks:
            f += sgl.gen("x") + "."
        return [f.text() for f in forks]

    with pytest.raises(NotSupported, match=r"no thread is left \(can't start new thread\)"):
        run(body, backend)


def test_an_interrupt_in_run_batch_aborts_every_program(backend):
    backend.gate.clear()
    program = sgl.function(lambda s, i: s.__iadd__(f"{i}" + sgl.gen("x")))
    interrupt_when(lambda: len(backend.calls) == 3)
    with pytest.raises(KeyboardInterrupt):
        program.run_batch([{"i": i} for i in range(6)], backend=backend, num_threads=3)
    assert {call.rid for call in backend.calls[:3]} <= set(backend.aborted)
    assert len(backend.calls) == 3


def test_an_interrupt_while_reading_a_stream_aborts_the_program(backend):
    backend.gate.clear()
    state = sgl.function(lambda s: s.__iadd__(sgl.gen("x"))).run(backend=backend, stream=True)
    interrupt_when(lambda: backend.calls)
    with pytest.raises(KeyboardInterrupt):
        list(state.text_iter())
    assert backend.aborted == [backend.calls[0].rid]


# -- streams ------------------------------------------------------------------------------------------------------


def story(s, subject):
    s += f"On {subject}: " + sgl.gen("first")
    s += ". " + sgl.gen("second")
    return "done"


def test_a_stream_gives_the_whole_text_or_one_variable_in_pieces():
    backend = ScriptedBackend(lambda text: "one two three")
    state = sgl.function(story).run(subject="ice", backend=backend, stream=True)
    pieces = list(state.text_iter())
    assert pieces == ["On ice: ", "one", " two", " three", ". ", "one", " two", " three"]
    assert list(state.text_iter("second")) == ["one", " two", " three"]
    assert state.text() == "".join(pieces)
    assert state.ret_value == "done"
    assert state.error() is None


def test_text_arrives_before_the_program_has_ended():
    backend = ScriptedBackend(lambda text: "word")
    backend.gate.clear()
    state = sgl.function(story).run(subject="ice", backend=backend, stream=True)
    pieces = state.text_iter()
    assert next(pieces) == "On ice: "
    assert not backend.gate.is_set()
    backend.gate.set()
    assert "".join(pieces) == "word. word"


def test_a_variable_can_be_read_before_the_program_has_come_to_it(backend):
    backend.gate.clear()
    threading.Timer(0.1, backend.gate.set).start()
    state = sgl.function(story).run(subject="ice", backend=backend, stream=True)
    assert state["second"] == "<13>"
    with pytest.raises(UnknownVariable):
        state["third"]


def test_streams_in_an_event_loop_run_side_by_side():
    backend = ScriptedBackend(lambda text: "one two")
    program = sgl.function(story)

    async def read(name):
        state = program.run(subject="ice", backend=backend, stream=True)
        return [piece async for piece in state.text_async_iter(name)]

    async def both():
        return await asyncio.gather(read(None), read("first"))

    whole, first = asyncio.run(both())
    assert "".join(whole) == "On ice: one two. one two"
    assert first == ["one", " two"]


def test_a_failure_ends_a_stream_after_its_text():
    backend = ScriptedBackend(failing)
    state = sgl.function(lambda s: s.__iadd__("a" + sgl.gen("x") + "boom" + sgl.gen("y"))).run(backend=backend, stream=True)
    seen = []
    with pytest.raises(BackendFailed, match="it broke"):
        seen.extend(state.text_iter())
    assert state["x"] == "ok"
    assert isinstance(state.error(), BackendFailed)


def test_the_text_of_a_run_that_was_not_streamed_comes_as_one_piece(backend):
    state = sgl.function(story).run(subject="ice", backend=backend)
    assert list(state.text_iter()) == [state.text()]
    assert "".join(state.text_iter("first")) == state["first"]


# -- running ------------------------------------------------------------------------------------------------------


def test_run_passes_inputs_and_defaults_and_a_generation_overrides_them(backend):
    @sgl.function
    def program(s, question, temperature="warm"):
        s += question + temperature + sgl.gen("x") + sgl.gen("y", stop="!", max_tokens=3)

    state = program.run("q", max_new_tokens=9, stop=["\n"], backend=backend)
    assert state.text().startswith("qwarm")
    assert [dict(call.params) for call in backend.calls] == [
        {"max_new_tokens": 9, "stop": ("\n",)}, {"max_new_tokens": 3, "stop": ("!",)}
    ]  # fmt: skip
    assert program.run(question="q", temperature="cold", backend=backend).text().startswith("qcold")


def test_wrong_inputs_are_errors_before_anything_runs(backend):
    program = sgl.function(story)
    with pytest.raises(UnknownParameter, match="program story has no parameter 'subjct'") as caught:
        program.run(subjct="x", backend=backend)
    assert "did you mean 'subject'?" in str(caught.value)
    with pytest.raises(InvalidRequest, match="not given its input subject"):
        program.run(backend=backend)
    with pytest.raises(InvalidRequest, match="takes at most 1"):
        program.run("a", "b", backend=backend)
    with pytest.raises(InvalidRequest, match="first parameter is the state"):
        sgl.function(lambda: None)

    async def coroutine(s):
        pass

    with pytest.raises(InvalidRequest, match="must be a plain function"):
        sgl.function(coroutine)
    with pytest.raises(UnknownParameter, match="no parameter 'sub'"):
        program.bind(sub=1)
    assert not backend.calls


def test_programs_nest_and_return_values(backend):
    @sgl.function
    def inner(s, word):
        s += word + sgl.gen("inner")
        return s["inner"]

    @sgl.function()
    def outer(s):
        s += "o"
        return inner(s, word="w"), inner.bind(word="v")(s)

    state = outer.run(backend=backend)
    assert state.ret_value == ("<2>", "<6>")
    assert state.text() == "ow<2>v<6>"
    assert (outer.name, outer.__name__) == ("outer", "outer")


def test_a_batch_keeps_its_order_and_asks_at_the_same_time(backend):
    barrier = threading.Barrier(5, timeout=60)

    def answer(text):
        barrier.wait()
        time.sleep(0.02 * (5 - int(text)))
        return f"={text}"

    backend.answer = answer
    program = sgl.function(lambda s, i: s.__iadd__(str(i) + sgl.gen("x")))
    states = program.run_batch([{"i": i} for i in range(5)], backend=backend)
    assert [state["x"] for state in states] == [f"={i}" for i in range(5)]


def test_one_thread_asks_one_at_a_time(backend):
    program = sgl.function(lambda s, i: s.__iadd__(str(i) + sgl.gen("x")))
    program.run_batch([{"i": i} for i in range(5)], backend=backend, num_threads=1)
    assert backend.most_inside == 1


def test_a_failing_program_does_not_lose_the_others():
    backend = ScriptedBackend(failing)
    program = sgl.function(lambda s, word: s.__iadd__(word + sgl.gen("x")))
    with pytest.warns(ProgramFailed, match="1 of 3 programs failed; the first: it broke") as caught:
        states = program.run_batch([{"word": word} for word in ("a", "boom", "b")], backend=backend)
    with pytest.warns(ProgramFailed) as caught_too:
        sgl.run_batch([program.bind(word="boom")], backend=backend)
    assert (caught[0].filename, caught_too[0].filename) == (__file__, __file__)
    with pytest.raises(ProgramMistake, match="one program"):
        sgl.run_batch(program.bind(word="a"), backend=backend)
    assert [state.error() is None for state in states] == [True, False, True]
    assert (states[0]["x"], states[2]["x"]) == ("ok", "ok")
    with pytest.raises(BackendFailed, match="it broke"):
        states[1]["x"]


def test_a_batch_draws_a_bar(backend, capsys):
    program = sgl.function(lambda s, i: s.__iadd__(sgl.gen("x")))
    program.run_batch([{"i": i} for i in range(3)], backend=backend, progress_bar=True)
    assert "] 3/3 programs" in capsys.readouterr().err


def test_the_modules_run_batch_takes_bound_programs(backend):
    one = sgl.function(lambda s, a: s.__iadd__("1" + a + sgl.gen("x")))
    two = sgl.function(lambda s, a, b: s.__iadd__("22" + a + b + sgl.gen("x")))
    states = sgl.run_batch([one.bind(a="."), two.bind(a=".").bind(b="."), one.bind(a="...")], backend=backend, max_tokens=4)
    assert [state["x"] for state in states] == ["<2>", "<4>", "<4>"]
    assert {call.params["max_new_tokens"] for call in backend.calls} == {4}
    assert sgl.run_batch([], backend=backend) == []
    for wrong in ([story], [one]):
        with pytest.raises(InvalidRequest):
            sgl.run_batch(wrong, backend=backend)
    with pytest.raises(InvalidRequest, match="a list of dicts"):
        one.run_batch(["x"], backend=backend)
    with pytest.raises(UnknownParameter):
        one.run_batch([{"a": "x"}], backend=backend, temprature=1)


# -- the log ------------------------------------------------------------------------------------------------------


def test_a_run_writes_what_happened_to_the_log(backend):
    def body(s):
        s += "a" + sgl.gen("x", max_tokens=5)
        f = s.fork(1)[0]
        f += sgl.select("y", ["p", "q"])

    run(body, backend)
    events = backend.log.read()[1]
    assert isinstance(events[0], ProgramStarted)
    assert isinstance(events[-1], ProgramFinished)
    reached = [(e.kind, e.name, e.text, e.branch) for e in events if isinstance(e, PartReached)]
    assert reached == [("text", "", "a", ()), ("gen", "x", "", ()), ("fork", "", "", ()), ("select", "y", "", (0, 0))]
    finished = [(e.text, e.num_cached, e.scores) for e in events if isinstance(e, PartFinished)]
    assert finished == [("<1>", 4, ()), ("q", None, (("p", "0.000"), ("q", "1.000")))]
    linked = [e.rid for e in events if isinstance(e, RequestLinked)]
    assert linked[0] == backend.calls[0].rid
    assert len(linked) == 2
    assert len({e.program for e in events}) == 1
    assert 'gen("x", max_tokens=5)' in next(e.place for e in events if isinstance(e, PartReached))


def test_a_failed_run_says_so_in_the_log():
    backend = ScriptedBackend(failing)
    with pytest.raises(BackendFailed):
        run(lambda s: s.__iadd__("boom" + sgl.gen("x")), backend)
    assert "it broke" in backend.log.read()[1][-1].error


# -- again --------------------------------------------------------------------------------------------------------


def talk(s, topic):
    s += topic + sgl.gen("plan")
    forks = s.fork(2)
    for i, f in enumerate(forks):
        f += f"#{i}" + sgl.gen("part")
    s += "|" + forks[0]["part"] + sgl.gen("end") + sgl.select("pick", ["p", "q"])


def test_a_rerun_keeps_what_stood_before_the_edit_and_asks_for_what_follows(backend):
    state = run(talk, backend, topic="tea")
    before = len(backend.calls)
    again = state.rerun(edit={"end": "FIN"})
    assert again["end"] == "FIN"
    assert again.text() == state.text().replace(state["end"] + "q", "FINq")
    assert len(backend.calls) == before
    changed = state.rerun(edit={"plan": " and cake"})
    assert changed["plan"] == " and cake"
    assert changed.text().startswith("tea and cake|<14>")
    assert len(backend.calls) == before + 3


def test_a_rerun_edits_one_of_several_of_a_name_and_refuses_unknown_ones(backend):
    state = run(talk, backend, topic="tea")
    before = len(backend.calls)
    again = state.rerun(edit={("part", 1): "other"})
    assert again.text() == state.text()
    assert len(backend.calls) == before
    assert [a.value for _, a in sorted(again._executor.run.answers.items())].count("other") == 1
    with pytest.raises(UnknownVariable, match="'plans'"):
        state.rerun(edit={"plans": "x"})
    with pytest.raises(InvalidRequest, match="between 0 and 1"):
        state.rerun(edit={("part", 2): "x"})


def test_a_reader_of_a_stream_wakes_when_the_program_sets_the_name_itself():
    waits, may_end, read = threading.Event(), threading.Event(), []

    @sgl.function
    def program(s):
        waits.wait(60)
        s["x"] = 5
        may_end.wait(60)

    state = program.run(backend=ScriptedBackend(), stream=True)
    reader = threading.Thread(target=lambda: read.append(state["x"]))
    reader.start()
    time.sleep(0.05)
    waits.set()
    reader.join(60)
    assert read == [5], "while the program's function still runs"
    may_end.set()
