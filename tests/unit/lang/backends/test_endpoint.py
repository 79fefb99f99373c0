"""`RuntimeEndpoint` on a stand-in server, and the language in an environment without torch."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from native_server import serving
from scripted_engine import FACTS, ScriptedEngine

import workbench as sgl
from workbench.errors import Aborted, BackendFailed, InvalidRequest, NotSupported
from workbench.lang.backends.base import GenerateCall
from workbench.lang.nodes import Text
from workbench.lang.prompt import Prompt

STANDINS = Path(__file__).parents[3] / "standins"


@pytest.fixture
def engine():
    return ScriptedEngine()


@pytest.fixture
def server(engine):
    with serving(engine, FACTS) as (url, requests):
        yield url, requests


@sgl.function
def talk(s, question):
    s += sgl.system("S")
    s += sgl.user(question)
    s += sgl.assistant("A:" + sgl.gen("a", max_tokens=5, temperature=0.5))


def test_a_program_sends_native_bodies_and_one_begin_token(server):
    url, requests = server
    state = talk.run("Q", backend=sgl.RuntimeEndpoint(url + "/"))
    assert state.text() == "^<system>S</><user>Q</><assistant>A:" + state["a"] + "</>"
    ((path, body),) = requests
    assert path == "/generate"
    assert body == {
        "text": "<system>S</><user>Q</><assistant>A:",  # the server adds the begin token
        "sampling_params": {"max_new_tokens": 5, "temperature": 0.5},
        "rid": body["rid"],
        "stream": True,
    }


def test_the_begin_token_stays_where_the_server_adds_none(engine):
    with serving(engine, {**FACTS, "adds_bos": False}) as (url, requests):
        talk.run("Q", backend=sgl.RuntimeEndpoint(url))
    assert requests[0][1]["text"].startswith("^<system>")


def test_a_server_without_a_template_needs_one(engine, tmp_path):
    with serving(engine) as (url, _):
        with pytest.raises(NotSupported, match="names no chat template") as caught:
            talk.run("Q", backend=sgl.RuntimeEndpoint(url))
        assert "chat_template=" in caught.value.hint
        path = tmp_path / "own.jinja"
        path.write_text("{% for m in messages %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}[{% endif %}")
        assert talk.run("Q", backend=sgl.RuntimeEndpoint(url, chat_template=str(path))).text().startswith("[S][Q][A:")


def test_a_stream_comes_piece_by_piece(server, engine):
    engine.answer = lambda text: "abc"
    state = talk.run("Q", backend=sgl.RuntimeEndpoint(server[0]), stream=True)
    pieces = list(state.text_iter())
    assert pieces[-4:-1] == ["a", "b", "c"]
    assert "".join(pieces) == state.text()
    assert server[1][0][1]["stream"] is True


def test_an_abort_cuts_the_line_and_the_server_notices(engine):
    engine.answer, engine.pause_s = (lambda text: "x" * 2000), 0.02
    with serving(engine, FACTS) as (url, _):
        backend = sgl.RuntimeEndpoint(url)
        pieces = backend.generate(
            GenerateCall(rid="one", prompt=Prompt((Text("a"),)), params={"max_new_tokens": 2000}, is_streamed=True)
        )
        assert next(pieces).text == "x"
        threading.Timer(0.1, backend.abort, ("one",)).start()
        with pytest.raises(BackendFailed, match="broke off"):
            list(pieces)
        assert engine.closed.wait(60)


def test_an_abort_before_the_call_ends_it_at_once(server):
    backend = sgl.RuntimeEndpoint(server[0])
    backend.abort("late")
    with pytest.raises(Aborted, match="before it began"):
        list(backend.generate(GenerateCall(rid="late", prompt=Prompt((Text("a"),)))))


def test_a_refusal_names_the_servers_reason_and_the_programs_line(server):
    @sgl.function
    def refused(s):
        s += "refuse" + sgl.gen("x")

    with pytest.raises(BackendFailed, match="answered 400: prompt is refused, it must be something else") as caught:
        refused.run(backend=sgl.RuntimeEndpoint(server[0]))
    assert 's += "refuse" + sgl.gen("x")' in caught.value.message


def test_a_server_that_is_not_there_is_a_two_line_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(BackendFailed, match=f"no server answers at http://127.0.0.1:{port}") as caught:
        sgl.RuntimeEndpoint(f"http://127.0.0.1:{port}")
    assert len(caught.value._render_traceback_()) == 2


def test_a_server_that_goes_away_fails_the_program(engine):
    with serving(engine, FACTS) as (url, _):
        backend = sgl.RuntimeEndpoint(url)
    with pytest.raises(BackendFailed, match="no server answers"):
        talk.run("Q", backend=backend, stream=False)


@pytest.mark.parametrize("url", ["localhost:30000", "ftp://x", "", "http://localhost:30000/v1"])
def test_an_address_that_cannot_be_is_refused(url):
    with pytest.raises(InvalidRequest):
        sgl.RuntimeEndpoint(url)


def test_a_key_goes_with_every_request(engine, monkeypatch):
    seen = []
    import native_server

    real = native_server.Handler.answer
    monkeypatch.setattr(
        native_server.Handler, "answer", lambda self, *a: (seen.append(self.headers.get("Authorization")), real(self, *a))[1]
    )
    with serving(engine) as (url, _):
        sgl.RuntimeEndpoint(url, api_key="secret").get_server_info()
    assert seen == ["Bearer secret"] * 2


def test_options_are_scored_by_their_characters(engine, server):
    likely = {"a": -1.0, "b": -2.0, "c": -0.1}
    engine.logprob = lambda before, character: likely.get(character, -9.0)

    @sgl.function
    def choose(s, method):
        s += "Pick: " + sgl.select("x", ["a", "bccc", "b"], choices_method=method)

    backend = sgl.RuntimeEndpoint(server[0])
    by_mean = choose.run(sgl.token_length_normalized, backend=backend)
    assert by_mean["x"] == "bccc"
    assert by_mean.get_meta_info("x")["scores"] == pytest.approx([-1.0, -2.3 / 4, -2.0])
    assert choose.run(sgl.greedy_token_selection, backend=backend)["x"] == "a"
    assert choose.run(sgl.unconditional_likelihood_normalized, backend=backend)["x"] == "a"
    alone = server[1][-1][1]
    assert alone["input_ids"] == [[ord(c) for c in "^" + option] for option in ("a", "bccc", "b")]


SCRIPT = """
import sys
for name in ("torch", "transformers", "numpy", "tokenizers", "xgrammar", "zmq", "psutil", "httpx", "IPython"):
    sys.modules[name] = None
import workbench as sgl
from native_server import serving
from scripted_engine import FACTS, ScriptedEngine

@sgl.function
def everything(s, question):
    s += sgl.system("S") + sgl.user(question)
    s += sgl.assistant_begin() + "Well: " + sgl.gen("a", max_tokens=4)
    with s.fork(3) as forks:
        forks += lambda i: f"{i}" + sgl.gen_int("n")
    s += sgl.select("pick", ["yes", "no"]) + sgl.assistant_end()
    return s["n"]

with serving(ScriptedEngine(), FACTS) as (url, requests):
    sgl.set_default_backend(sgl.RuntimeEndpoint(url))
    state = everything.run(question="Q")
    print(state.ret_value, state["pick"], state.messages()[-1])
    print([s["a"] for s in everything.run_batch([{"question": str(i)} for i in range(3)])])
    print("".join(everything.run(question="Q", stream=True).text_iter()) == state.text())
    print(state.rerun(edit={"a": "!"})["a"], "gen a" in str(state.show()), "<details" in state.show().to_html())
    sgl.flush_cache()
    print(sgl.get_server_info()["model_path"])
print(sorted(name for name, module in sys.modules.items() if module is None) != [])
"""


@pytest.mark.process
def test_the_language_runs_where_torch_and_the_engine_cannot_be_imported():
    env = {"PYTHONPATH": f"{Path(sgl.__file__).parents[1]}:{STANDINS}", "PATH": ""}
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("['<44>', '<44>', '<44>'] yes {'role': 'assistant', 'content': 'Well: <39>yes'")
    assert lines[1] == "['<39>', '<39>', '<39>']"
    assert lines[2:] == ["True", "! True True", "scripted", "True"]


def test_certificates_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InvalidRequest, match=r"verify is .*none\.pem', it must be the path of a file of certificates"):
        sgl.RuntimeEndpoint("https://localhost:1", verify=str(tmp_path / "none.pem"))
