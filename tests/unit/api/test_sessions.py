"""A turn of a session: its context is that of the turn it continues, and what ends a turn spoils no session."""

from __future__ import annotations

import threading
import time

import pytest
from msgspec import structs

import workbench
from workbench.api import sessions
from workbench.api.sessions import Sessions, without_begin
from workbench.client.stream import Stream
from workbench.errors import InvalidRequest, QueueFull, UnknownParameter
from workbench.model.tiny import write_config
from workbench.native.requests import PromptBatch
from workbench.native.session import SessionParams
from workbench.types import Picture, Request, SamplingParams, SeenPrompt

A, B, C = [3, 1, 4, 1, 5], [9, 2, 6], [8, 8]
GREEDY = {"temperature": 0, "max_new_tokens": 6, "ignore_eos": True}
LONG = GREEDY | {"max_new_tokens": 10_000}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory):
    folder = str(write_config(tmp_path_factory.mktemp("model"), max_position_embeddings=12_000))
    settings = {"load_format": "dummy", "skip_tokenizer_init": True, "dtype": "float32", "max_total_tokens": 24_000}
    with workbench.Engine(folder, num_threads=1, device="cpu", **settings) as engine:
        yield engine


@pytest.fixture
def session(engine):
    name = engine.open_session(capacity_of_str_len=1000)
    yield name
    engine.close_session(name)


def turn(engine, session, ids, params=GREEDY, **of_session):
    return engine.generate(input_ids=ids, sampling_params=params, session_params={"id": session, **of_session})


def plain(engine, ids):
    return engine.generate(input_ids=ids, sampling_params=GREEDY)["output_ids"]


def rid(result):
    return result["meta_info"]["id"]


def test_a_turn_continues_prompt_and_output_of_another(engine, session):
    first = turn(engine, session, A)
    second = turn(engine, session, B, rid=rid(first))
    context = [*A, *first["output_ids"], *B]
    assert second["output_ids"] == plain(engine, context)
    assert second["meta_info"]["prompt_tokens"] == len(context)
    third = turn(engine, session, C, rid=rid(second))
    assert third["output_ids"] == plain(engine, [*context, *second["output_ids"], *C])
    branch = turn(engine, session, C, rid=rid(first))
    assert branch["output_ids"] == plain(engine, [*A, *first["output_ids"], *C]), "an earlier turn has a second continuation"


@pytest.mark.parametrize("offset", [None, 0, 3, 7, -1, -8, 100, -100])
def test_the_offset_cuts_the_context(engine, session, offset):
    first = turn(engine, session, A)
    whole = [*A, *first["output_ids"]]
    second = turn(engine, session, B, rid=rid(first), offset=offset)
    assert second["output_ids"] == plain(engine, [*(whole[:offset] if offset else whole), *B])


def test_replace_drops_the_turns_below(engine, session):
    first = turn(engine, session, A)
    second = turn(engine, session, B, rid=rid(first))
    third = turn(engine, session, C, rid=rid(second))
    other = turn(engine, session, C, rid=rid(first), replace=True)
    assert other["output_ids"] == plain(engine, [*A, *first["output_ids"], *C])
    for gone in (second, third):
        with pytest.raises(InvalidRequest, match="the request id of a turn of the session"):
            turn(engine, session, B, rid=rid(gone))
    assert turn(engine, session, B, rid=rid(other))
    fresh = turn(engine, session, A, replace=True)
    with pytest.raises(InvalidRequest):
        turn(engine, session, B, rid=rid(first))
    assert turn(engine, session, B, rid=rid(fresh))


def test_several_prompts_are_turns_of_their_sessions(engine, session):
    other = engine.open_session()
    firsts = engine.generate(input_ids=[A, B], sampling_params=GREEDY, session_params=[{"id": session}, {"id": other}])
    continued = [{"id": session, "rid": rid(firsts[0])}, {"id": other, "rid": rid(firsts[1])}, None]
    results = engine.generate(input_ids=[C, C, C], sampling_params=GREEDY, session_params=continued)
    expected = [[*A, *firsts[0]["output_ids"], *C], [*B, *firsts[1]["output_ids"], *C], C]
    assert [result["output_ids"] for result in results] == [plain(engine, ids) for ids in expected]
    engine.close_session(other)


def test_a_turn_that_runs_is_not_continued_but_can_be_replaced(engine, session):
    stream = engine.generate(input_ids=A, sampling_params=LONG, stream=True, session_params={"id": session}, rid="long")
    seen = next(stream)["output_ids"]
    with pytest.raises(InvalidRequest, match="a turn that has ended"):
        turn(engine, session, B, rid="long")
    other = turn(engine, session, B, rid="long", replace=True)
    assert other["output_ids"] == plain(engine, [*A, *seen, *B]), "it continues what was read"
    assert list(stream)[-1]["meta_info"]["finish_reason"]["type"] == "abort"


def test_a_reader_that_leaves_spoils_no_session(engine, session):
    stream = engine.generate(input_ids=A, sampling_params=LONG, stream=True, session_params={"id": session}, rid="left")
    seen = next(stream)["output_ids"]
    stream.close()
    assert turn(engine, session, B, rid="left")["output_ids"] == plain(engine, [*A, *seen, *B])


def test_a_request_that_is_refused_is_no_turn(engine, session):
    first = turn(engine, session, A)
    with pytest.raises(InvalidRequest):
        turn(engine, session, B, GREEDY | {"max_new_tokens": 10**6}, rid=rid(first), replace=True)
    with pytest.raises(InvalidRequest, match="an id that no turn of the session has"):
        engine.generate(input_ids=B, sampling_params=GREEDY, session_params={"id": session}, rid=rid(first))
    assert turn(engine, session, B, rid=rid(first))


WRONG = [
    ({}, InvalidRequest, "missing required field `id`"),
    ({"id": 3}, InvalidRequest, "session_params: Expected `str`"),
    ({"id": "x", "offset": "1"}, InvalidRequest, "Expected `int | null`"),
    ({"id": "x", "drop": True}, UnknownParameter, "session_params has no parameter 'drop'"),
    ("x", InvalidRequest, "session_params is 'x', it must be of type mapping"),
    ({"id": "closed"}, InvalidRequest, "the id of an open session"),
]


@pytest.mark.parametrize("value, kind, words", WRONG, ids=range(len(WRONG)))
def test_wrong_parameters_are_refused(engine, value, kind, words):
    with pytest.raises(kind) as caught:
        engine.generate(input_ids=A, sampling_params=GREEDY, session_params=value)
    assert words in str(caught.value)


def test_a_session_has_one_answer_to_a_prompt(engine, session):
    with pytest.raises(InvalidRequest, match="n is 2, it must be 1 in a session"):
        turn(engine, session, A, GREEDY | {"n": 2})


def test_sessions_are_opened_once_and_closed_once(engine):
    name = engine.open_session(session_id="mine")
    assert name == "mine"
    with pytest.raises(InvalidRequest, match="session_id"):
        engine.open_session(session_id="mine")
    engine.close_session("mine")
    with pytest.raises(InvalidRequest, match="session_id"):
        engine.close_session("mine")
    with pytest.raises(InvalidRequest, match="capacity_of_str_len"):
        engine.open_session(-1)


def batch_of(params, rid, ids=(1, 2), max_new_tokens=4):
    request = Request(rid=rid, input_ids=tuple(ids), params=SamplingParams(max_new_tokens=max_new_tokens))
    return PromptBatch([request], [False], [1], True, [SessionParams(**params)])


def finished(rid):
    stream = Stream(rid)
    stream.is_finished = True
    return stream


def test_the_beginning_of_a_text_is_marked_once():
    """A tokenizer puts its first token before every text; inside a conversation it has no place."""
    picture = Picture(digest="", arrays={}, num_tokens=2, places=((1, 2),))
    seen = SeenPrompt((0, 6, 6, 7), (picture,))
    assert without_begin(seen, 0) == SeenPrompt((6, 6, 7), (picture.moved(-1),))
    assert without_begin(seen, None) == without_begin(seen, 6) == seen


@pytest.mark.parametrize(("offset", "num_pictures"), [(None, 1), (1, 0), (2, None), (3, 1), (-2, 1), (-4, None)])
def test_an_offset_cuts_no_picture(offset, num_pictures):
    own = Sessions()
    own.open(session_id="s")
    picture = Picture(digest="", arrays={}, num_tokens=2, places=((1, 2),))
    batch = batch_of({"id": "s"}, "a", (5, 6, 6, 7))
    batch.requests[0] = structs.replace(batch.requests[0], pictures=(picture,))
    (turn,), _ = own.begin(batch, [finished("a")])
    turn.output_ids += [8, 9]
    if num_pictures is None:
        with pytest.raises(InvalidRequest, match="is within a picture, tokens 1 to 2"):
            own.context(SessionParams("s", "a", offset), "b")
    else:
        seen = own.context(SessionParams("s", "a", offset), "b")
        assert seen == SeenPrompt((5, 6, 6, 7, 8, 9)[:offset], (picture,) * num_pictures)


def test_sessions_have_limits(monkeypatch):
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 2)
    monkeypatch.setattr(sessions, "MOST_TOKENS", 150)
    own = Sessions()
    own.open(session_id="s")
    own.open(session_id="t")
    with pytest.raises(QueueFull, match="2 sessions are open"):
        own.open()
    for i in range(3):
        own.begin(batch_of({"id": "s"}, f"r{i}"), [finished(f"r{i}")])
    with pytest.raises(QueueFull, match="192 tokens"):
        own.context(SessionParams("t"), "x")
    own.begin(batch_of({"id": "s", "replace": True}, "only"), [finished("only")])
    assert own.context(SessionParams("t"), "x") == SeenPrompt(())
    own.close("s")
    assert own._num_tokens == 0


def test_many_threads_open_continue_and_close_sessions(engine):
    failures: list[BaseException] = []

    def converse(number: int) -> None:
        try:
            name = engine.open_session()
            last, context = None, []
            for _ in range(4):
                result = turn(engine, name, [number, 1], rid=last)
                assert result["meta_info"]["prompt_tokens"] == len(context) + 2
                context, last = [*context, number, 1, *result["output_ids"]], rid(result)
            engine.close_session(name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=converse, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    deadline = time.monotonic() + 60
    while engine.memory()["tokens_running"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.memory()["tokens_running"] == 0
