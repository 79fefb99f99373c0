"""The common behaviour of all vendors' backends."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from vendor_server import tokens

import workbench as sgl
from workbench.errors import Aborted, BackendFailed, BackendLacks, install
from workbench.lang.backends.base import GenerateCall
from workbench.lang.backends.vendor import find_choice
from workbench.lang.nodes import RoleBegin, RoleEnd, Text
from workbench.lang.prompt import Prompt

ROOT = Path(__file__).parents[4]
PNG = b"\x89PNG not really"
WEATHER = {
    "name": "weather", "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}  # fmt: skip


def run(place, body, **inputs):
    return sgl.function(body).run(backend=place.backend, **inputs)


def plain(text="one two three", **params):
    return lambda s: s.__iadd__(text + sgl.gen("x", **params))


def asked(*parts, **more):
    return GenerateCall(rid="r1", prompt=Prompt(parts), **more)


# -- text and conversations ---------------------------------------------------------------------------------------


def test_a_prompt_without_roles_is_one_message_of_the_user(place):
    state = run(place, plain())
    assert place.asked == [("user", "one two three")]
    assert state["x"] == "You said 3 words."
    assert state.text() == "one two threeYou said 3 words."


def test_a_conversation_is_sent_turn_by_turn(place):
    def chat(s):
        s += sgl.system("Be kind.")
        with s.user():
            s += "a"
            s += "b"
        s += sgl.assistant(sgl.gen("first"))
        s += sgl.user("again") + sgl.assistant(sgl.gen("second"))

    state = run(place, chat)
    said = "You said 3 words."
    assert place.asked == [("system", "Be kind."), ("user", "ab"), ("assistant", said), ("user", "again")]
    assert (state["first"], state["second"]) == (said, "You said 8 words.")
    assert [message["role"] for message in state.messages()] == ["system", "user", "assistant", "user", "assistant"]


def test_pieces_come_as_the_vendor_sends_them(place):
    pieces = list(place.backend.generate(asked(Text("one two"), is_streamed=True)))
    assert [piece.text for piece in pieces if piece.text] == tokens("You said 2 words.")
    assert [piece.meta_info is not None for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_the_first_piece_is_there_before_the_answer_has_ended(place):
    place.server.num_before_stall = 2
    pieces = iter(place.backend.generate(asked(Text("one two"), is_streamed=True)))
    assert next(pieces).text == "You"
    pieces.close()
    assert place.server.gone.wait(60)


def test_what_the_vendor_counts_is_in_the_meta_info(place):
    meta = run(place, plain("one two three four")).get_meta_info("x")
    assert (meta["prompt_tokens"], meta["cached_tokens"], meta["completion_tokens"]) == (4, 1, 4)
    assert meta["computed_tokens"] == 3
    assert meta["finish_reason"] == {"type": "stop", "matched": None}
    assert meta["model"] == place.backend.model
    assert meta["response_id"]


def test_the_length_limit_is_the_vendors(place):
    state = run(place, plain(max_tokens=2))
    assert state["x"] == "You said"
    assert state.get_meta_info("x")["finish_reason"] == {"type": "length", "length": 2}


def test_sampling_parameters_are_sent_and_what_is_not_given_is_not(place):
    run(place, plain(temperature=0.25, top_p=0.5))
    run(place, plain())
    with_both, without = (body.get("generationConfig", body) for _, body in place.server.requests)
    assert (with_both["temperature"], with_both.get("top_p", with_both.get("topP"))) == (0.25, 0.5)
    assert not {"temperature", "top_p", "topP"} & set(without)


def test_the_vendor_stops_at_a_stop_string(place):
    place.server.answer = lambda prompt: "one END two"
    state = run(place, plain(stop=["END", "never"]))
    assert state["x"].rstrip() == "one"
    assert "END" in json.dumps(place.server.requests[-1][1])
    assert state.get_meta_info("x")["finish_reason"]["type"] == "stop"


def test_stop_strings_beyond_what_a_vendor_takes_end_the_text_all_the_same(place):
    place.server.answer = lambda prompt: "The first line\nThe second line"
    state = run(place, plain(stop=["a1", "a2", "a3", "a4", "a5", "\n"]))
    assert state["x"] == "The first line"
    assert state.get_meta_info("x")["finish_reason"] == {"type": "stop", "matched": "\n"}


# -- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_refused_key_is_an_error_that_says_where_the_key_comes_from(place):
    place.backend = place.make(place.url, api_key="wrong")
    with pytest.raises(BackendFailed, match=r"answered 401.*that key is not known here") as caught:
        run(place, plain())
    assert "api_key=" in caught.value.hint
    lines = caught.value._render_traceback_()
    assert len(lines) == 2
    assert f"line {plain().__code__.co_firstlineno} of test_vendor.py" in lines[0]
    assert caught.value.__cause__.__class__.__module__.split(".")[0] in ("openai", "anthropic", "google", "litellm")


@pytest.mark.parametrize("status, hint", [(429, "num_threads"), (500, "try again later"), (400, "")])
def test_a_vendors_error_keeps_its_words_and_its_exception(place, status, hint):
    place.server.failures = [(status, "the reason, in words")] * 3
    with pytest.raises(BackendFailed, match=f"answered {status}.*the reason, in words") as caught:
        run(place, plain())
    assert hint in caught.value.hint
    assert caught.value.__cause__ is not None


def test_a_line_that_is_cut_is_an_error_and_what_came_before_stays(place):
    place.server.num_before_break = 2
    state = sgl.function(plain("p ")).run(backend=place.backend, stream=True)
    with pytest.raises(BackendFailed):
        state["x"]
    assert "".join(piece for piece in _until_error(state.text_iter())) == "p You said"


def _until_error(pieces):
    try:
        yield from pieces
    except BackendFailed:
        return


@pytest.mark.parametrize("place", ["openai", "anthropic", "vertexai"], indirect=True)
def test_a_stream_without_its_end_is_an_error(place):  # LiteLLM ends such a stream as if it were whole
    place.server.ends_early = True
    with pytest.raises(BackendFailed, match="broke off"):
        run(place, plain())


def test_an_address_where_nobody_answers_is_an_error(place):
    url = "http://127.0.0.1:9"
    place.backend = place.make(url)
    with pytest.raises(BackendFailed) as caught:
        run(place, plain())
    assert caught.value.hint
    assert caught.value.__cause__ is not None


def test_an_abort_ends_a_stream_that_still_comes(place):
    place.server.is_endless = True
    pieces = iter(place.backend.generate(asked(Text("one"), is_streamed=True)))
    assert next(pieces).text == "You"
    place.backend.abort("r1")
    with pytest.raises(Aborted):
        list(pieces)
    assert place.server.gone.wait(60)


@pytest.mark.parametrize("place", ["openai", "anthropic", "vertexai", "litellm"], indirect=True)
def test_an_abort_ends_a_wait_for_the_next_piece(place):  # LiteLLM exposes the connection only if it uses OpenAI's package
    place.server.num_before_stall = 2
    pieces = iter(place.backend.generate(asked(Text("one"), is_streamed=True)))
    assert [next(pieces).text, next(pieces).text] == ["You", " said"]
    threading.Timer(0.1, place.backend.abort, ["r1"]).start()
    with pytest.raises(Aborted):
        next(pieces)
    assert place.server.gone.wait(60)


@pytest.mark.parametrize("place", ["openai", "anthropic", "vertexai", "litellm"], indirect=True)
def test_an_interrupt_of_a_program_closes_the_stream(place):
    place.server.num_before_stall = 2
    main = threading.main_thread().ident
    user = threading.Thread(target=lambda: place.server.has_stalled.wait(60) and signal.pthread_kill(main, signal.SIGINT))
    user.start()
    with pytest.raises(KeyboardInterrupt):
        run(place, plain())
    user.join()
    assert place.server.gone.wait(60)


def test_a_call_aborted_before_it_begins_gives_nothing(place):
    place.backend.abort("r1")
    with pytest.raises(Aborted):
        list(place.backend.generate(asked(Text("one"))))
    assert next(iter(place.backend.generate(asked(Text("one"))))).text == "You"


# -- programs -----------------------------------------------------------------------------------------------------


def test_many_threads_ask_at_the_same_time_and_each_gets_its_own_answer(place):
    place.server.barrier = threading.Barrier(12, timeout=60)
    qa = sgl.function(lambda s, i: s.__iadd__(sgl.user("word " * (i + 1)) + sgl.assistant(sgl.gen("x"))))
    states = qa.run_batch([{"i": i} for i in range(12)], backend=place.backend, num_threads=12)
    assert [state["x"] for state in states] == [f"You said {i + 1} words." for i in range(12)]
    assert place.server.most_inside == 12


def test_a_whole_program_with_forks_and_a_choice(place):
    place.server.answer = lambda prompt: '"calculator"' if "exactly one" in prompt else f"<{len(prompt.split())}>"

    def program(s):
        s += sgl.system("Help.") + sgl.user("Two tips.") + sgl.assistant(sgl.gen("outline"))
        forks = s.fork(2)
        for i, fork in enumerate(forks):
            fork += sgl.user(f"Expand {i}" + " more" * i) + sgl.assistant(sgl.gen("tip"))
        s += sgl.user("Tips: " + " ".join(fork["tip"] for fork in forks))
        s += sgl.assistant(sgl.gen("summary"))
        s += sgl.user("Which tool?") + sgl.assistant(sgl.gen("tool", choices=["search", "calculator"]))
        return [fork["tip"] for fork in forks]

    state = run(place, program)
    assert state.ret_value == ["<6>", "<7>"]
    assert (state["outline"], state["summary"], state["tool"]) == ("<3>", "<7>", "calculator")
    assert state.get_meta_info("tool")["choices"] == ["search", "calculator"]
    assert state.get_meta_info("tool")["num_requests"] == 1


def test_a_choice_is_asked_for_at_the_end_of_what_the_user_says(place):
    place.server.answer = lambda prompt: "Paris."
    state = run(place, lambda s: s.__iadd__(sgl.user("Capital?") + sgl.assistant(sgl.select("x", ["London", "Paris"]))))
    ((role, text),) = place.asked
    assert role == "user"
    assert text.startswith("Capital?\n\n")
    assert text.endswith('"London"\n"Paris"')
    assert [message["content"] for message in state.messages()] == ["Capital?", "Paris"]


def test_an_answer_that_is_none_of_the_choices_is_an_error(place):
    with pytest.raises(BackendFailed, match="2 choices and answered 'You said"):
        run(place, lambda s: s.__iadd__("Q" + sgl.select("x", ["London", "Paris"])))


@pytest.mark.parametrize(
    "answer, choices, index",
    [
        ("Paris", ["London", "Paris"], 1),
        (' "paris".\n', ["London", "Paris"], 1),
        ("Paris Texas", ["Paris", "Paris Texas"], 1),
        ("Paris Texas is it", ["Paris", "Paris Texas"], 1),
        ("Parisian", ["Paris", "London"], None),
        ("B", ["b", "B"], 1),
        ("either", ["a", "b"], None),
        ("1.5", ["1", "1.5"], 1),
        ("yes", [" yes", " no"], 0),
    ],
)
def test_an_answer_names_an_option_or_none(answer, choices, index):
    assert find_choice(answer, choices) == index


# -- what some can and some cannot --------------------------------------------------------------------------------


def test_tools_are_offered_and_their_calls_come_as_json(place):
    place.server.answer = lambda prompt: "Let me look."
    place.server.calls = [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})]
    state = run(place, plain(tools=[WEATHER, {"type": "function", "function": WEATHER | {"name": "climate"}}]))
    text, *lines = state["x"].split("\n")
    assert text == "Let me look."
    assert [json.loads(line) for line in lines] == [{"name": "weather", "arguments": {"city": c}} for c in ("Paris", "Rome")]
    meta = state.get_meta_info("x")
    assert meta["finish_reason"] == {"type": "tool_calls"}
    assert [json.loads(call["function"]["arguments"])["city"] for call in meta["tool_calls"]] == ["Paris", "Rome"]
    sent = json.dumps(place.server.requests[-1][1])
    assert '"name": "climate"' in sent
    assert '"city": {"type": "string"}' in sent.replace('"STRING"', '"string"')


@pytest.mark.parametrize("has_roles", [True, False])
def test_pictures_go_along_as_bytes(place, has_roles):
    parts = sgl.image(PNG) + "What is it?"
    run(place, lambda s: s.__iadd__(sgl.user(parts) + sgl.assistant(sgl.gen("x")) if has_roles else parts + sgl.gen("x")))
    assert place.asked == [("user", "What is it?")]
    sent = json.dumps(place.server.requests[-1][1])
    assert base64.b64encode(PNG).decode() in sent
    assert "image/png" in sent
    with pytest.raises(BackendLacks, match="an image in a system message"):
        run(place, lambda s: s.__iadd__(sgl.system(sgl.image(PNG)) + sgl.assistant(sgl.gen("x"))))


@pytest.mark.parametrize(
    "params, feature",
    [({"regex": "a+"}, "regex"), ({"ebnf": 'root ::= "a"'}, "ebnf"), ({"dtype": int}, "dtype"), ({"min_p": 0.1}, "min_p"),
     ({"return_logprob": True, "logprob_start_len": 0}, "log"), ({"ignore_eos": True}, "ignore_eos")],
)  # fmt: skip
def test_what_no_vendor_can_is_refused_before_anything_is_sent(place, params, feature):
    with pytest.raises(BackendLacks, match=f"{place.backend.name} cannot do: {feature}"):
        run(place, plain(**params))
    assert place.server.requests == []


def test_a_generation_with_nothing_before_it_is_refused(place):
    with pytest.raises(BackendLacks, match="without a message before gen"):
        run(place, lambda s: s.__iadd__(sgl.assistant(sgl.gen("x"))))
    assert place.server.requests == []


def test_constraints_and_roles_that_do_not_exist_there_are_refused(place):
    with pytest.raises(BackendLacks, match="choices_method"):
        run(place, lambda s: s.__iadd__("Q" + sgl.select("x", ["a", "b"], choices_method=sgl.greedy_token_selection)))
    with pytest.raises(BackendLacks, match="role tool"):
        run(place, lambda s: (s.user("q"), s.role("tool", "4"), s.assistant(sgl.gen("x"))))
    with pytest.raises(BackendLacks, match="text outside roles"):
        run(place, lambda s: s.__iadd__("before" + sgl.user("q") + sgl.assistant(sgl.gen("x"))))
    with pytest.raises(BackendLacks, match="any role"):
        run(place, lambda s: s.__iadd__(sgl.user("q" + sgl.gen("x"))))
    with pytest.raises(BackendLacks, match="video"):
        run(place, lambda s: s.__iadd__(sgl.user(sgl.video(b"x")) + sgl.assistant(sgl.gen("x"))))
    with pytest.raises(BackendLacks, match="flush_cache"):
        sgl.flush_cache(place.backend)
    assert place.server.requests == []


def test_text_before_a_generation_is_continued_or_refused(place):
    call = asked(RoleBegin("user"), Text("?"), RoleEnd("user"), RoleBegin("assistant"), Text("The answer is"))
    if "prefill" in place.backend.features:
        assert next(iter(place.backend.generate(call))).text == "You"
        assert place.asked == [("user", "?"), ("assistant", "The answer is")]
        return
    with pytest.raises(BackendLacks, match="prefill"):
        place.backend.check(call)


# -- packages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, module, extra",
    [("OpenAI", "openai", "openai"), ("Anthropic", "anthropic", "anthropic"), ("VertexAI", "google.genai", "vertexai"),
     ("LiteLLM", "litellm", "litellm")],
)  # fmt: skip
def test_without_its_package_a_backend_says_which_extra_to_install(monkeypatch, name, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=re.escape(f"workbench.{name} needs {module}: {install(extra)}")):
        getattr(sgl, name)("some-model")


@pytest.mark.process
def test_the_names_load_neither_torch_nor_a_vendors_package():
    code = "import workbench as w, sys; w.OpenAI, w.Anthropic, w.VertexAI, w.LiteLLM\n"
    code += "print({'torch', 'openai', 'anthropic', 'google.genai', 'litellm', 'tiktoken'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
