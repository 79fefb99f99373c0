"""Several generations in one API call have the same values as one by one, with fewer calls."""

from __future__ import annotations

import re

import pytest
from scripted_backend import ScriptedBackend

import workbench as sgl
from workbench.errors import BackendFailed, BackendLacks, InvalidRequest
from workbench.lang.backends.base import FEATURES, Piece

STORY = "Name: Ann Lee\nBirthday: May 1\nJob: cook\nWelcome.\n"


class Api(ScriptedBackend):
    """A model with one text. It continues the prompt in that text, up to a stop string or a number of words."""

    name = "Api"
    writes_ahead = True

    def __init__(self, story=STORY, features=FEATURES):
        super().__init__()
        self.stories = [story]
        self.features = features

    def generate(self, call):
        self.calls.append(call)
        story = self.stories.pop(0) if len(self.stories) > 1 else self.stories[0]
        written = call.prompt.turns[-1].text if call.prompt.turns else ""
        begun = max(i for i in range(len(story) + 1) if written.endswith(story[:i]))
        words = re.findall(r"\S+|\s", story[begun:])[: call.params.get("max_new_tokens", 128)]
        text = "".join(words)
        ends = [(text.find(stop), stop) for stop in call.params.get("stop", ()) if stop in text]
        at, matched = min(ends) if ends else (len(text), None)
        counts = {"prompt_tokens": 10, "completion_tokens": len(words)}
        is_cut = len(words) == call.params.get("max_new_tokens")
        finish = {"type": "length", "length": len(words)} if is_cut else {"type": "stop", "matched": matched}
        yield Piece(text[:at], meta_info={"id": call.rid, **counts, "finish_reason": finish})


def facts(s):
    s += "A person.\nName:" + sgl.gen("name", stop="\n") + "\nBirthday:" + sgl.gen("birthday", stop="\n")
    s += "\nJob:" + sgl.gen("job", stop="\n") + "\n"


def chat(s):
    s += sgl.system("Be exact.") + sgl.user("A person?")
    with s.assistant():
        s += "Name:" + sgl.gen("name", stop="\n") + "\nBirthday:" + sgl.gen("birthday", stop="\n")
        s += "\nJob:" + sgl.gen("job", stop="\n") + "\nWelcome.\n"


def run(body, backend, num=64, **inputs):
    return sgl.function(body, num_api_spec_tokens=num).run(backend=backend, **inputs)


NAMES = ("name", "birthday", "job")


@pytest.mark.parametrize("body", [facts, chat])
def test_one_call_gives_what_one_by_one_gives(body):
    alone, ahead = Api(), Api()
    expected, state = sgl.function(body).run(backend=alone), run(body, ahead)
    assert [state[name] for name in NAMES] == [expected[name] for name in NAMES] == [" Ann Lee", " May 1", " cook"]
    assert state.text() == expected.text()
    assert (len(alone.calls), len(ahead.calls)) == (3, 1)


def test_the_call_asks_for_the_tokens_and_names_no_stop():
    backend = Api()
    run(facts, backend, temperature=0.5)
    (call,) = backend.calls
    assert (call.params["max_new_tokens"], call.params.get("stop", ()), call.params["temperature"]) == (64, (), 0.5)


def test_what_was_sent_is_counted_once():
    state = run(facts, Api())
    first, second = state.get_meta_info("name"), state.get_meta_info("birthday")
    assert (first["prompt_tokens"], first["num_requests"]) == (10, 1)
    assert "prompt_tokens" not in second
    assert second["num_requests"] == 0
    assert second["id"] == first["id"]
    assert second["finish_reason"] == {"type": "stop", "matched": "\n"}
    assert [call.prompt_tokens for call in state.calls] == [10, None, None]


def test_where_program_and_model_go_apart_it_asks_again():
    backend = Api()

    def program(s):
        s += "Name:" + sgl.gen("name", stop="\n") + "\nName: Ann Lee\nBirthday:" + sgl.gen("birthday", stop="\n")

    state = run(program, backend)
    assert (state["name"], state["birthday"]) == (" Ann Lee", " May 1")
    assert [call.prompt.plain_text for call in backend.calls] == ["Name:", "Name: Ann Lee\nName: Ann Lee\nBirthday:"]


def test_a_text_that_is_used_up_is_continued():
    backend = Api()

    def program(s):
        for i in range(3):
            s += sgl.gen(f"part{i}")

    state = run(program, backend, num=5)
    assert "".join(state[f"part{i}"] for i in range(3)) == "Name: Ann Lee\nBirthday: May 1\nJob: cook"
    assert state.get_meta_info("part0")["finish_reason"] == {"type": "length", "length": 5}
    assert len(backend.calls) == 3


def test_an_api_that_cannot_continue_a_message_writes_the_whole_of_it():
    backend = Api(features=FEATURES - {"prefill"})
    state = run(chat, backend)
    assert [state[name] for name in NAMES] == [" Ann Lee", " May 1", " cook"]
    (call,) = backend.calls
    assert call.prompt.turns[-1].text == ""
    assert state.messages()[-1] == {"role": "assistant", "content": STORY}


def test_a_message_that_begins_otherwise_is_asked_for_again_and_all_is_counted():
    backend = Api("Sure!\n", features=FEATURES - {"prefill"})
    backend.stories += [STORY]
    state = run(chat, backend)
    assert state["job"] == " cook"
    assert (state.get_meta_info("name")["num_requests"], state.get_meta_info("name")["prompt_tokens"]) == (2, 20)


def test_a_message_that_never_begins_as_the_program_does_is_an_error_with_its_line():
    backend = Api("Sure!\n", features=FEATURES - {"prefill"})
    with pytest.raises(BackendFailed, match=r"begin its message with 'Name:' and wrote 'Sure!\\n'.*test_lookahead.py") as caught:
        run(chat, backend)
    assert len(backend.calls) == 3
    assert "num_api_spec_tokens" in caught.value.hint


def test_a_message_that_has_ended_leaves_nothing_for_a_later_generation():
    backend = Api("Name: Ann", features=FEATURES - {"prefill"})

    def program(s):
        s += sgl.user("?") + sgl.assistant("Name:" + sgl.gen("name", stop="\n") + sgl.gen("rest"))

    state = run(program, backend)
    assert (state["name"], state["rest"], len(backend.calls)) == (" Ann", "", 1)


@pytest.mark.parametrize(
    "more", [{"max_tokens": 9}, {"n": 1}, {"regex": "a+"}, {"return_logprob": True}, {"dtype": int}, {"tools": [{"name": "f"}]}]
)
def test_a_generation_that_asks_for_more_is_asked_for_by_itself(more):
    backend = Api()

    def program(s):
        s += "Name:" + sgl.gen("name", stop="\n") + "\nBirthday:" + sgl.gen("birthday", stop="\n", **more)

    state = run(program, backend)
    assert state["birthday"] == " May 1"
    assert len(backend.calls) == 2
    assert backend.calls[1].params["stop"] == ("\n",)


def test_other_sampling_is_another_call():
    backend = Api()
    run(lambda s: s.__iadd__("Name:" + sgl.gen("a", stop="\n") + "\nBirthday:" + sgl.gen("b", stop="\n", temperature=0)), backend)
    assert len(backend.calls) == 2


def test_each_fork_is_written_for_itself():
    backend = Api()

    def program(s):
        s += "Name:" + sgl.gen("name", stop="\n")
        forks = s.fork(2)
        forks += "\nBirthday:" + sgl.gen("birthday", stop="\n")
        return [fork["birthday"] for fork in forks]

    assert run(program, backend).ret_value == [" May 1", " May 1"]
    assert len(backend.calls) == 3


def test_a_stream_shows_the_same_text():
    state = sgl.function(facts, num_api_spec_tokens=64).run(backend=Api(), stream=True)
    assert "".join(state.text_iter()) == state.text() == "A person.\nName: Ann Lee\nBirthday: May 1\nJob: cook\n"


def test_a_backend_that_is_not_paid_by_the_call_takes_no_notice():
    backend = Api()
    backend.writes_ahead = False
    assert run(facts, backend)["job"] == " cook"
    assert len(backend.calls) == 3


def test_the_decorator_the_batch_and_the_rerun_keep_the_number():
    backend = Api()

    @sgl.function(num_api_spec_tokens=64)
    def program(s, who):
        s += who
        facts(s)

    states = program.run_batch([{"who": "A. "}, {"who": "B. "}], backend=backend)
    assert [state["job"] for state in states] == [" cook", " cook"]
    assert len(backend.calls) == 2
    again = states[0].rerun({"birthday": " June 2"})
    assert again["name"] == " Ann Lee"
    assert again["birthday"] == " June 2"
    assert [call.params["max_new_tokens"] for call in backend.calls] == [64] * 3


@pytest.mark.parametrize("num", [0, -1, 1.5, True, "64"])
def test_a_number_that_cannot_be_is_refused_where_the_program_is_defined(num):
    with pytest.raises(InvalidRequest, match="num_api_spec_tokens"):
        sgl.function(facts, num_api_spec_tokens=num)


def test_without_it_a_text_before_the_generation_is_refused():
    backend = Api(features=FEATURES - {"prefill"})
    with pytest.raises(BackendLacks, match="prefill"):
        sgl.function(chat).run(backend=backend)
