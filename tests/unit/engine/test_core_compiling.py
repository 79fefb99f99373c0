"""A request waits for its constraint while the others continue: with futures in place of compilers, then with real ones."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import workbench
from workbench.client.stream import read
from workbench.errors import EngineDead, InvalidRequest, NotSupported
from workbench.events import GrammarCompiled, RequestScheduled, RequestWaited, RequestWaiting
from workbench.testing import AllowAll, VirtualClock, events_of, make_client, make_core, make_request
from workbench.why.request.explanation import explain

UNENFORCED = ("json_schema: format 'x'",)


def request(rid, num_new=4, **fields):
    return make_request(rid, (1, 2, 3), num_new, **fields)


@pytest.fixture
def slow():
    """A client whose requests with an id of `slow...` wait for a future."""
    futures = {}

    def prepare(request):
        if not request.rid.startswith("slow"):
            return None, None
        return futures.setdefault(request.rid, Future()), None

    core = make_core(context_length=2000, clock=time.monotonic)
    client = make_client(core, prepare)
    client.futures = futures
    yield client
    client.close()


def outputs(client, rid, **fields):
    return [out for _, out in read(client.submit([request(rid, **fields)]))]


def test_others_go_on_while_a_request_waits_for_its_constraint(slow):
    (stream,) = slow.submit([request("slow")])
    assert sum(len(out.token_ids) for out in outputs(slow, "quick")) == 4
    assert [event.reason for event in events_of(slow, RequestWaiting, "slow")] == ["compiling"]
    told = explain(slow.log, "slow", slow.engine.now())
    assert "waiting for compiling" in told.sentence
    assert told.facts["waited"][0]["seconds"] > 0, "how long so far"
    matcher = AllowAll()
    matcher.unenforced = UNENFORCED
    slow.futures["slow"].set_result(matcher)
    ended = [out for _, out in read([stream])]
    assert sum(len(out.token_ids) for out in ended) == 4
    assert ended[-1].unenforced == UNENFORCED
    assert not ended[0].unenforced
    (waited,) = events_of(slow, RequestWaited, "slow")
    assert [part.reason for part in waited.parts] == ["compiling"]
    assert events_of(slow, RequestScheduled, "slow")


def test_an_error_of_the_compiler_is_raised_where_the_stream_is_read(slow):
    (stream,) = slow.submit([request("slow")])
    slow.futures["slow"].set_exception(InvalidRequest("regex", "x", "one that compiles"))
    with pytest.raises(InvalidRequest, match="one that compiles"):
        list(read([stream]))
    assert outputs(slow, "quick"), "the engine goes on"
    assert slow.engine.get_load().num_compiling == 0


def test_an_abort_ends_the_wait_and_the_compilation(slow):
    (stream,) = slow.submit([request("slow")])
    slow.abort("slow")
    (last,) = [out for _, out in read([stream])]
    assert last.finish.type == "abort"
    assert slow.futures["slow"].cancelled()
    assert slow.engine.get_load().num_compiling == 0
    (again,) = slow.submit([request("slow again")])
    slow.futures["slow again"].set_result(AllowAll())
    assert [out for _, out in read([again])][-1].finish.type == "length"


def test_time_runs_out_while_compiling_though_nothing_else_happens(slow):
    (last,) = outputs(slow, "slow", timeout_s=0.2)
    assert last.finish.type == "abort"
    assert "timed out after 0.2 s" in last.finish.message
    assert slow.futures["slow"].cancelled()


def test_shutting_down_ends_who_waits_for_a_constraint(slow):
    (stream,) = slow.submit([request("slow")])
    slow.engine.now()
    slow.close()
    with pytest.raises(EngineDead):
        list(read([stream]))
    assert slow.futures["slow"].cancelled()


def test_a_refused_batch_lets_go_of_what_was_begun(slow):
    with pytest.raises(InvalidRequest, match="in use"):
        slow.submit([request("slow"), request("slow")])
    assert slow.futures["slow"].cancelled()


def test_a_core_with_nothing_but_compiling_requests_has_no_work_until_one_times_out():
    clock = VirtualClock()
    core = make_core(clock=clock)
    core.add(request("a", timeout_s=5.0), is_compiling=True)
    core.add(request("b"), is_compiling=True)
    assert (core.has_work, core.idle_s) == (False, 5.0)
    clock.now = 5.0
    assert core.has_work
    (out,) = core.step()
    assert out.rid == "a"
    assert (core.has_work, core.idle_s) == (False, None)
    core.supply("b", AllowAll())
    core.supply("a", AllowAll())
    assert core.has_work
    while core.has_work:
        core.step()


# ---- real compilers beside a real model ------------------------------------------------------------------------

WORDS = [f"{i:020d}" for i in range(20_000)]
"""Words that take xgrammar minutes as an enumeration."""
SMALL = {"num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
ARGS = {
    "load_format": "dummy", "json_model_override_args": SMALL, "max_total_tokens": 2000, "random_seed": 0, "num_threads": 1,
    "dtype": "float32", "grammar_compile_workers": 1,
}  # fmt: skip


def open_engine(folder, **args):
    return workbench.Engine(folder, **ARGS | args)


@pytest.mark.model
@pytest.mark.parametrize("process", [False, True])
def test_an_engine_answers_others_while_it_compiles_and_names_the_limit(smollm2, process):
    limit = r"(?s)^ebnf is .* compiles in 4 s \(grammar_compile_timeout_s\)"
    quick = {"regex": "[ab]{3}", "max_new_tokens": 8}
    with open_engine(smollm2, process=process, grammar_compile_timeout_s=4.0) as engine:
        engine.generate("The", quick)  # the first constraint reads the vocabulary
        hard = {"ebnf": "root ::= " + " | ".join(f'"{word}"' for word in WORDS), "max_new_tokens": 30}
        call = ThreadPoolExecutor().submit(engine.generate, "x", hard, rid="h")
        while "h" not in {getattr(event, "rid", "") for event in engine.log.read()[1]}:
            engine.generate("free", {"max_new_tokens": 2})
            time.sleep(0.01)
        free = engine.generate("The", quick | {"regex": "[ab]{4}"})
        assert free["text"].strip("ab") == ""
        assert not call.done(), "the other was answered first"
        assert "compiling" in str(engine.explain("h"))
        assert engine.get_server_info()["num_compiling"] == 1
        with pytest.raises(InvalidRequest, match=limit):
            call.result()
        with pytest.raises(InvalidRequest, match=limit):
            list(engine.generate("x", hard, stream=True))
        assert engine.generate("x", {"regex": "a", "max_new_tokens": 3})["text"] == "a"
        last = engine.generate("x", hard, timeout_s=0.5)
        assert last["meta_info"]["finish_reason"]["type"] == "abort"


@pytest.mark.model
def test_what_is_not_enforced_is_listed_in_the_result(smollm2):
    schema = {"type": "object", "properties": {"a": {"type": "string", "format": "password", "maxLength": 2}}, "required": ["a"]}
    with open_engine(smollm2) as engine:
        result = engine.generate("x", {"json_schema": schema, "max_new_tokens": 60, "seed": 1})
        assert result["meta_info"]["unenforced"] == ['json_schema.a: format "password"']
        assert set(json.loads(result["text"])) == {"a"}
        assert "unenforced" not in engine.generate("x", {"regex": "a", "max_new_tokens": 3})["meta_info"]


@pytest.mark.model
@pytest.mark.parametrize("backend", ["xgrammar", "outlines"])
def test_both_backends_constrain_an_engine(smollm2, backend):
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "yy"]}, "b": {"type": "boolean"}}, "required": ["a", "b"]}
    with open_engine(smollm2, grammar_backend=backend, disable_outlines_disk_cache=True) as engine:
        params = [{"choices": ["red", "green"]}, {"regex": r"\d{3}-[a-c]{2}"}, {"json_schema": schema}, {}]
        results = engine.generate(["The"] * 4, [{"max_new_tokens": 40, "temperature": 1.0, "seed": 3, **p} for p in params])
        choice, number, record, free = (result["text"] for result in results)
        assert choice in ("red", "green")
        assert re.fullmatch(r"\d{3}-[a-c]{2}", number)
        assert json.loads(record)["a"] in ("x", "yy")
        assert free
        if backend == "outlines":
            with pytest.raises(NotSupported, match="ebnf"):
                engine.generate("x", {"ebnf": 'root ::= "a"'})
    with pytest.raises(NotSupported, match="needs grammar_backend outlines"):
        open_engine(smollm2, constrained_json_whitespace_pattern=" ?")


@pytest.mark.model
def test_how_a_constraint_was_compiled_is_in_the_log_and_explained(smollm2):
    slow = "|".join(f"word{i:04}" for i in range(600))  # too long for the caller's thread
    with open_engine(smollm2) as engine:
        params = {"max_new_tokens": 4}
        rids = [
            engine.generate("a", params | how)["meta_info"]["id"]
            for how in ({"regex": "[ab]+"}, {"regex": slow}, {"regex": slow})
        ]
        made = [event for event in engine.log.read()[1] if isinstance(event, GrammarCompiled)]
        assert [event.rid for event in made] == rids
        assert [(event.where, event.is_cached) for event in made] == [("thread", False), ("child", False), ("child", True)]
        assert all(event.kind == "regex" and event.backend == "xgrammar" and event.num_bytes > 0 for event in made)
        assert made[1].seconds == made[2].seconds > 0
        first, second, third = (engine.explain(rid) for rid in rids)
        assert "its regex compiled in" in first.sentence
        assert "on its caller's thread" in first.sentence
        assert "in a child process" in second.sentence
        assert second.spans[0].label == "compile"
        assert second.spans[0].duration_s >= made[1].seconds / 2
        assert all(span.note != "compiling" for span in second.spans[1:])
        assert "its regex compiled before (xgrammar" in third.sentence
        assert "compile" not in [span.label for span in third.spans]
        assert third.facts["compiled"]["is_cached"] is True
        assert engine.explain(engine.generate("a", params)["meta_info"]["id"]).facts["compiled"] is None
