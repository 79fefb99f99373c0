"""The engine in a child process: the same answers, the same errors, and no child that outlives its parent."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import msgspec
import psutil
import pytest

import workbench
from workbench.client.stream import Stream, put_all
from workbench.config import ServerArgs
from workbench.errors import EngineDead, InvalidRequest, NotSupported, PromptTooLong, UnknownParameter
from workbench.events import EventLog, PartReached
from workbench.model.tiny import write_config
from workbench.process import client as process_module
from workbench.process.client import ProcessClient
from workbench.process.main import Child
from workbench.process.messages import messages_of
from workbench.process.supervise import ChildProcess
from workbench.views.live.feed import flush_all
from workbench.views.tree.fold import TreeFold
from workbench.wire_error import Failure

GREEDY = {"temperature": 0, "max_new_tokens": 6, "ignore_eos": True}
ENDLESS = {"temperature": 0, "max_new_tokens": 20_000, "ignore_eos": True}
"""Parameters of an answer that takes many seconds: a caller that stands still for one still comes before its end."""
NUM_TOKENS, CONTEXT = 80_000, 40_000
ARGS = {
    "load_format": "dummy", "skip_tokenizer_init": True, "dtype": "float32", "max_total_tokens": NUM_TOKENS, "random_seed": 0,
    "num_threads": 1,
}  # fmt: skip
A, B = [3, 1, 4, 1, 5], [9, 2, 6]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("model"), max_position_embeddings=CONTEXT)


def open_engine(folder, **args):
    return workbench.Engine(str(folder), process=True, **ARGS | args)


@pytest.fixture(scope="module")
def engine(folder):
    with open_engine(folder) as engine:
        yield engine


@pytest.fixture(scope="module")
def local(folder):
    with workbench.Engine(str(folder), **ARGS) as engine:
        yield engine


def ids_of(result):
    return [ids_of(item) for item in result] if isinstance(result, list) else result["output_ids"]


def wait_until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.01)


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_the_child_answers_like_an_engine_beside_the_caller(engine, local):
    call = {"input_ids": [A, B, A], "sampling_params": [GREEDY, {"seed": 3, "n": 2}, GREEDY | {"logit_bias": {7: 2.5}}]}
    assert ids_of(engine.generate(**call)) == ids_of(local.generate(**call))
    call = {"input_ids": A, "sampling_params": GREEDY, "return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 2}
    ours, theirs = engine.generate(**call)["meta_info"], local.generate(**call)["meta_info"]
    for name in ("input_token_logprobs", "output_token_logprobs", "input_top_logprobs", "output_top_logprobs"):
        assert ours[name] == theirs[name]
    assert ours["finish_reason"] == theirs["finish_reason"]


def test_streams_keep_their_order_under_load(engine, local):
    prompts = [[i, i + 1, i + 2] for i in range(1, 25)]
    params = GREEDY | {"max_new_tokens": 40}
    expected = ids_of(local.generate(input_ids=prompts, sampling_params=params))
    seen = {i: [] for i in range(len(prompts))}
    for chunk in engine.generate(input_ids=prompts, sampling_params=params, stream=True):
        i, ids = chunk["index"], chunk["output_ids"]
        assert ids[: len(seen[i])] == seen[i], "cumulative"
        seen[i] = ids
    assert list(seen.values()) == expected


def test_async_calls_and_streams_work(engine, local):
    async def main():
        whole = engine.async_generate(input_ids=A, sampling_params=GREEDY)
        stream = await engine.async_generate(input_ids=A, sampling_params=GREEDY, stream=True)
        return [chunk["output_ids"] async for chunk in stream], (await whole)["output_ids"]

    expected = ids_of(local.generate(input_ids=A, sampling_params=GREEDY))
    chunks, whole = asyncio.run(main())
    assert whole == expected
    assert chunks == [expected[:i] for i in range(1, 7)]


def test_a_snapshot_of_the_child_stands_at_the_right_place_of_this_log(engine):
    """Programs write to this log too, so that it counts otherwise than the child's."""
    engine.log.add(PartReached(time=engine._handle.client.engine.now(), program="p", part=1, branch=(), kind="text"))
    engine.generate(input_ids=A, sampling_params=GREEDY)
    state = engine._handle.client.engine.snapshot()
    number = engine.log.number_after(state.taken)
    engine.generate(input_ids=[7, 7, *A], sampling_params=GREEDY)
    folds = TreeFold(), TreeFold()
    for event in engine.log.read()[1]:
        folds[0].apply(event)
    for event in (*state.events, *engine.log.read(number)[1]):
        folds[1].apply(event)
    first, second = ({i: (row.token_ids, row.num_hits, row.used_by) for i, row in fold.nodes.by_id.items()} for fold in folds)
    assert first == second
    assert engine.cache.node(max(first)).token_ids == first[max(first)][0]


def test_views_of_the_load_follow_a_child(engine):
    engine.flush_cache()
    results = engine.generate(input_ids=[A, [9, 9, 9]], sampling_params=GREEDY, rid=["one", "two"])
    batch, kv = (engine.view(name, live=False) for name in ("batch", "kv"))
    assert [batch.request(name).num_output for name in ("one", "two")] == [len(result["output_ids"]) for result in results]
    assert batch.steps_of("one")
    memory = engine.memory()
    assert kv.counts == {"free": memory["tokens_free"], "tree": memory["tokens_tree"], "owned": 0}


def test_a_view_of_a_child_that_was_killed_says_so_and_keeps_its_picture(folder):
    with open_engine(folder) as engine:
        view = engine.view("tree", live=True)
        engine.generate(input_ids=A, sampling_params=GREEDY)
        flush_all()
        rows = msgspec.json.decode(view.rows)
        assert rows
        os.kill(engine._handle.client.pid, signal.SIGKILL)
        wait_until(lambda: view.note)
        assert view.note.splitlines() == [
            "the engine's process ended, exit code -9",
            "this is its last state; make the engine again to go on",
        ]
        assert msgspec.json.decode(view.rows) == rows
        assert engine.view("tree", live=False).num_nodes == len(rows)
        assert "error" not in view.answer({"do": "detail", "id": rows[0][0]})
        view.close()


def test_what_the_log_holds_of_a_killed_child_is_still_answered_and_what_it_lost_is_not_made_up(folder):
    with open_engine(folder) as engine, open_engine(folder, event_log_size=40) as forgetful:
        for each in (engine, forgetful):
            for rid in ("first", "second", "third", "last"):
                each.generate(input_ids=A, sampling_params=GREEDY, rid=rid)
            os.kill(each._handle.client.pid, signal.SIGKILL)
            wait_until(lambda each=each: each._handle.client.ended)
        assert "ended by length" in engine.explain("first").sentence
        found = engine.cache.search("3 1 4")
        assert [engine.cache.node(node).made_by for node in found] == ["first"]
        assert "ended by length" in forgetful.explain("last").sentence
        for ask in (lambda: forgetful.cache.search("3 1"), lambda: forgetful.cache.node(1)):
            with pytest.raises(EngineDead, match="exit code -9") as caught:
                ask()
            assert "no longer holds all" in caught.value.hint


def test_events_arrive_in_order_and_questions_are_answered(engine):
    engine.generate(input_ids=list(range(1, 40)), sampling_params=GREEDY, rid="told")
    explanation = engine.explain("told")
    assert (explanation.facts["prompt_tokens"], explanation.facts["completion_tokens"]) == (39, 6)
    assert explanation.facts["finish"] == "length"
    times = [event.time for event in engine.log.read()[1]]
    assert times == sorted(times)
    assert engine.cache.explain(list(range(1, 40)))["num_cached"] == 38
    assert engine.get_server_info()["num_running"] == 0
    memory = engine.memory()
    assert memory["tokens_free"] + memory["tokens_tree"] == NUM_TOKENS
    assert engine.flush_cache() == memory["tokens_tree"]


def test_an_abort_and_a_stream_left_early_end_their_requests_in_the_child(engine):
    chunks = []
    for chunk in engine.generate(input_ids=A, sampling_params=ENDLESS, stream=True, rid="cut"):
        chunks.append(chunk)
        if len(chunks) == 2:
            engine.abort("cut")
    assert chunks[-1]["meta_info"]["finish_reason"]["type"] == "abort"
    for _ in engine.generate(input_ids=A, sampling_params=ENDLESS, stream=True, rid="left"):
        break
    wait_until(lambda: engine.explain("left").facts["finish"] == "abort")


@pytest.mark.parametrize("where", ["engine", "local"])
def test_an_abort_of_several_samples_by_their_one_id_ends_them_all(where, request):
    engine = request.getfixturevalue(where)
    stream = engine.generate(input_ids=A, sampling_params=ENDLESS | {"n": 3, "temperature": 1.0}, stream=True, rid="many")
    reasons = {}
    for i, chunk in enumerate(stream):
        if i == 6:
            engine.abort("many")
        reasons[chunk["meta_info"]["id"]] = chunk["meta_info"]["finish_reason"]
    assert {rid: reason["type"] for rid, reason in reasons.items()} == dict.fromkeys(["many-0", "many-1", "many-2"], "abort")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ({"input_ids": [256]}, InvalidRequest, "input_ids is 256, it must be between 0 and 255"),
        ({"input_ids": [10**30]}, InvalidRequest, "input_ids is 1000.*at most 9223372036854775807"),
        ({"input_ids": A, "sampling_params": {"seed": 10**400}}, InvalidRequest, "seed is 1000.*at most 9223372036854775807"),
        ({"input_ids": A, "sampling_params": {"logit_bias": {5: 10**400}}}, InvalidRequest, "logit_bias is 1000.*at most 1.79"),
        ({"input_ids": A, "sampling_params": {"max_new_tokens": 40000}}, PromptTooLong, "max_new_tokens is 40000.*at most 39995"),
        ({"input_ids": A, "sampling_params": {"custom_params": {"f": print}}}, InvalidRequest, "custom_params is {'f':.*msgpack"),
        (
            {"input_ids": A, "sampling_params": {"custom_params": {"f": 10**400}}},
            InvalidRequest,
            "custom_params is {'f':.*msgpack",
        ),
        ({"input_ids": A, "rid": "\ud800"}, InvalidRequest, "rid is .*msgpack"),
        ({"input_ids": [A, B], "rid": ["one", "one"]}, InvalidRequest, "rid is 'one'"),
        ({"input_ids": A, "custom_logit_processor": "{}"}, NotSupported, "logit processors"),
    ],
)
def test_errors_keep_their_class_and_their_words(engine, local, call, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        engine.generate(**call)
    assert len(ids_of(engine.generate(input_ids=A, sampling_params=GREEDY))) == 6
    if "msgpack" not in words:
        with pytest.raises(error) as ours:
            engine.generate(**call)
        with pytest.raises(error) as theirs:
            local.generate(**call)
        assert vars(ours.value) == vars(theirs.value), "message and hint; field, value and limit of an invalid request"


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("seed", 2**63, "at most 2**63 - 1", hint="choose another"),
        InvalidRequest("json_schema", {"a": [1, None]}, "a schema"),
        PromptTooLong("prompt", "5 tokens", "at most 4"),
        UnknownParameter("temprature", ["temperature", "top_p"], where="sampling_params"),
        EngineDead("it ended"),
    ],
)
def test_an_error_that_crossed_is_the_same_in_all_it_says(error):
    carried = Failure.of(error)
    crossed = msgspec.msgpack.decode(msgspec.msgpack.encode(carried), type=Failure).to_error()
    assert type(crossed) is type(error)
    assert str(crossed) == str(error)
    assert vars(crossed) == vars(error)


def test_a_value_that_cannot_cross_is_shown_instead():
    error = Failure.of(InvalidRequest("custom_params", {"f": print}, "plain values")).to_error()
    assert (error.field, error.value, error.limit) == ("custom_params", "{'f': <built-in function print>}", "plain values")
    for broken in (OSError("no file \ud800"), EngineDead("half \ud800", hint="a character")):
        msgspec.msgpack.encode(Failure.of(broken))


def test_a_failing_load_raises_the_same_error_as_beside_the_caller(tmp_path):
    messages, before = [], psutil.Process().children()
    for process in (True, False):
        with pytest.raises(workbench.WorkbenchError) as caught:
            workbench.Engine(str(tmp_path / "nothing"), process=process, **ARGS | {"load_format": "auto"})
        messages.append((type(caught.value), str(caught.value)))
    assert messages[0] == messages[1]
    assert messages[0][0].__name__ == "ModelNotFound"
    assert psutil.Process().children() == before


def test_a_child_that_cannot_even_start_is_an_error_and_no_endless_wait(monkeypatch, folder):
    monkeypatch.setattr(process_module.sys, "executable", "/bin/false" if os.path.exists("/bin/false") else "false")
    with pytest.raises(EngineDead, match="exit code 1"):
        ProcessClient(ServerArgs.make(model_path=str(folder), **ARGS))


@pytest.mark.parametrize("process", [False, True])
def test_progress_is_told_on_the_callers_thread_while_it_loads(folder, process):
    news, threads = [], set()

    def note(*told):
        news.append(told)
        threads.add(threading.current_thread())

    with workbench.Engine(str(folder), process=process, progress=note, **ARGS):
        assert news == [("importing torch", 0, 0), ("reading the weights", 0, 0)]
    assert threads == {threading.current_thread()}


@pytest.mark.parametrize("process", [False, True])
def test_progress_that_raises_ends_the_load_and_leaves_nothing(folder, process):
    def stop(what, done, total):
        if what == "reading the weights":
            raise KeyboardInterrupt

    before, children = set(threading.enumerate()), psutil.Process().children()
    with pytest.raises(KeyboardInterrupt):
        workbench.Engine(str(folder), process=process, progress=stop, **ARGS)
    wait_until(lambda: set(threading.enumerate()) <= before)
    assert psutil.Process().children() == children


def test_shutdown_leaves_no_child_no_thread_and_no_folder(folder):
    threads = set(threading.enumerate())
    engine = open_engine(folder)
    pid, where = engine._handle.client.pid, engine._handle.client._channel.folder
    assert psutil.pid_exists(pid)
    stream = engine.generate(input_ids=A, sampling_params=ENDLESS, stream=True)
    next(stream)
    engine.shutdown()
    engine.shutdown()
    assert not psutil.pid_exists(pid)
    assert not os.path.exists(where)
    assert set(threading.enumerate()) <= threads
    with pytest.raises(EngineDead, match="shut down"):
        list(stream)
    with pytest.raises(EngineDead, match="shut down"):
        engine.generate(input_ids=A)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_child_ends_open_streams_and_later_calls(folder):
    engine = open_engine(folder)
    try:
        streams = [engine.generate(input_ids=A, sampling_params=ENDLESS, stream=True) for _ in range(2)]
        for stream in streams:
            next(stream)
        os.kill(engine._handle.client.pid, signal.SIGKILL)
        asked_at_once: list[BaseException] = []

        def ask():
            try:
                engine.get_server_info()
            except BaseException as error:
                asked_at_once.append(error)

        asker = threading.Thread(target=ask, daemon=True)
        asker.start()
        for stream in streams:
            with pytest.raises(EngineDead, match="exit code -9"):
                list(stream)
        asker.join(60)
        assert [type(error) for error in asked_at_once] == [EngineDead], "a call in the moment of death does not hang"
        with pytest.raises(EngineDead, match="exit code -9"):
            engine.generate(input_ids=A)
        with pytest.raises(EngineDead):
            engine.flush_cache()
        engine.abort("whoever")
    finally:
        engine.shutdown()
    gc.collect()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_parent_that_is_killed_leaves_no_child(folder):
    script = (
        "import sys, workbench\n"
        f"engine = workbench.Engine(sys.argv[1], process=True, **{ARGS!r})\n"
        f"stream = engine.generate(input_ids={A}, sampling_params={ENDLESS}, stream=True)\n"
        "next(stream)\n"
        "print(engine._handle.client.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
    finally:
        parent.kill()
        parent.communicate()
    wait_until(lambda: is_gone(pid))


def test_several_children_live_at_once(engine, folder):
    expected = ids_of(engine.generate(input_ids=A, sampling_params=GREEDY))
    with open_engine(folder, page_size=4) as other:
        assert other._handle.client.pid != engine._handle.client.pid
        streams = [e.generate(input_ids=A, sampling_params=GREEDY, stream=True, rid="same") for e in (engine, other)]
        assert [[chunk["output_ids"] for chunk in chunks][-1] for chunks in streams] == [expected, expected]
    assert ids_of(engine.generate(input_ids=A, sampling_params=GREEDY)) == expected


def test_a_loop_that_breaks_in_the_child_is_engine_dead_in_the_parent():
    """The child's side alone: what its streams end with is carried as an error, not as a finished request."""
    sent = []

    class Kept:
        def send(self, message):
            sent.append(message)

    served = Child(Kept(), None)
    served._opened = SimpleNamespace(client=SimpleNamespace(log=EventLog()))
    stream = Stream("r")
    put_all([(stream, EngineDead("the engine's loop broke: it did"))])
    served._forward([stream])
    [(rid, failure)] = sent[0].failures
    error = failure.to_error()
    assert rid == "r"
    assert isinstance(error, EngineDead)
    assert str(error) == "the engine's loop broke: it did\nload it again"


def test_an_interrupt_while_requests_are_sent_aborts_those_that_the_child_took(engine, monkeypatch):
    client, start = engine._handle.client, engine._handle.client._start

    def interrupted(call, /, *args, **kwargs):
        future = start(call, *args, **kwargs)
        if call.__name__ == "submit":
            future.result(60)
            raise KeyboardInterrupt
        return future

    monkeypatch.setattr(client, "_start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.generate(input_ids=A, sampling_params=ENDLESS, rid="cut off")
    monkeypatch.undo()
    wait_until(lambda: client.engine.get_load().num_running == 0)
    assert engine.explain("cut off").facts["finish"] == "abort"
    assert len(ids_of(engine.generate(input_ids=A, sampling_params=GREEDY, rid="cut off"))) == 6, "its id is free"


UNKNOWN = """
import sys, msgspec
from workbench.process.channel import Channel
from workbench.process.messages import Call
channel = Channel(Call, (sys.argv[1], sys.argv[2]))
channel.receive()
channel.send({"type": "Teleported", "number": 1})
sys.stdin.read()
"""
"""The child of a later version: its answer is a message that is not known here."""


def test_a_message_that_is_not_known_ends_the_engine_with_its_name_and_leaves_no_child(monkeypatch, folder):
    before = psutil.Process().children()
    monkeypatch.setattr(
        process_module, "ChildProcess", lambda command, _: ChildProcess([command[0], "-c", UNKNOWN, *command[3:]])
    )
    with pytest.raises(EngineDead, match=r"message that is not known here.*Teleported.*same version"):
        ProcessClient(ServerArgs.make(model_path=str(folder), **ARGS))
    assert psutil.Process().children() == before


def test_a_call_that_the_child_does_not_know_is_refused_and_it_goes_on(engine, monkeypatch):
    def fly(self, height: int) -> None:
        """Flies: a call of a later version."""

    later = type("Later", (), {"fly": fly})
    monkeypatch.setattr(process_module, "MESSAGES", {**process_module.MESSAGES, **messages_of(later)})
    with pytest.raises(NotSupported, match="no call 'fly'"):
        engine._handle.client._start(fly, 3).result(60)
    assert len(ids_of(engine.generate(input_ids=A, sampling_params=GREEDY))) == 6


def test_an_engine_that_dies_by_itself_can_be_replaced_where_its_end_is_told(folder):
    args, ended, opened = ServerArgs.make(model_path=str(folder), **ARGS), [], threading.Event()
    clients = []

    def replace(reason):
        ended.append((reason, clients[0].ended))
        clients.append(ProcessClient(args, on_end=ended.append))
        opened.set()

    clients.append(ProcessClient(args, on_end=replace))
    try:
        os.kill(clients[0].pid, signal.SIGKILL)
        assert opened.wait(60)
        died = "the engine's process ended, exit code -9"
        assert ended == [(died, died)], "told once, when all who waited know"
        assert clients[1].engine.get_load().num_running == 0
    finally:
        for client in clients:
            client.close()
    assert len(ended) == 1, "an engine that was closed is not missed"


SHORT_LIVED = """
import sys
from workbench.process.channel import Channel
from workbench.process.messages import Call
Channel(Call, (sys.argv[1], sys.argv[2])).receive()
raise SystemExit(4)
"""
"""A child that takes the call to open an engine and dies while it loads, as one that finds no memory does."""


def test_an_engine_that_dies_while_it_loads_raises_where_it_is_opened_and_is_not_reported_as_ended(monkeypatch, folder):
    ended = []
    monkeypatch.setattr(
        process_module, "ChildProcess", lambda command, env: ChildProcess([command[0], "-c", SHORT_LIVED, *command[3:]], env)
    )
    with pytest.raises(EngineDead, match="exit code 4"):
        ProcessClient(ServerArgs.make(model_path=str(folder), **ARGS), on_end=ended.append)
    assert ended == [], "who opened it knows: a supervisor would open two in its place"


def test_the_parent_side_imports_no_torch():
    script = "import sys, workbench.process.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
