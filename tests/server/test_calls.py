"""Every call on an engine has the same answer beside the caller and through a process."""

from __future__ import annotations

import inspect

import pytest
from msgspec import structs

import workbench
from workbench.client.protocol import EngineCalls, calls_of
from workbench.errors import WorkbenchError
from workbench.model.tiny import write_config
from workbench.types import EncodeRequest

ARGS = {
    "load_format": "dummy", "skip_tokenizer_init": True, "dtype": "float32", "max_total_tokens": 8000, "random_seed": 0,
    "num_threads": 1,
}  # fmt: skip
A, B = [3, 1, 4, 1, 5], [9, 2, 6]
TIMES = {"time", "used_at", "load_s", "process_rss_bytes", "available_bytes", "memory_bandwidth", "bytes_per_s"}
"""Fields that differ from run to run."""


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    folder = str(write_config(tmp_path_factory.mktemp("model"), max_position_embeddings=4000))
    with workbench.Engine(folder, **ARGS) as local, workbench.Engine(folder, process=True, **ARGS) as remote:
        yield local, remote


def essence(value):
    """Returns a value without the fields that differ from run to run."""
    if isinstance(value, structs.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__ if name not in TIMES}
        return type(value), {name: essence(part) for name, part in fields.items()}
    return [essence(part) for part in value] if isinstance(value, list) else value


EXAMPLES = {
    "encode": [([EncodeRequest(rid="three", input_ids=tuple(A))],)],
    "info": [()],
    "now": [()],
    "get_load": [()],
    "snapshot": [()],
    "match_prefix": [(A,), ([*A, 7, 7],), ([8, 8],), (A, "another namespace")],
    "flush_cache": [(), ()],
    "measure_bandwidth": [()],
    "token_detail": [(True,), (False,)],
    "pause_generation": [(), ()],
    "continue_generation": [(), ()],
    "weights": [()],
    "update_weights_from_disk": [("another",), ("another", "safetensors")],
    "update_weights_from_tensor": [(b"no tensors",)],
    "start_profile": [("/dev/null/traces",)],
    "stop_profile": [()],
}
"""Arguments to call each with, one after the other."""


def outcome(engine, name, arguments):
    try:
        result = getattr(engine._handle.client.engine, name)(*arguments)
    except WorkbenchError as error:
        return type(error), str(error)
    return "a number" if name in ("now", "measure_bandwidth") and result > 0 else essence(result)


@pytest.mark.parametrize("name", calls_of(EngineCalls))
def test_a_call_has_one_answer_wherever_the_engine_runs(engines, name):
    assert name in EXAMPLES, "a new call needs an example here"
    for engine in engines:
        engine.flush_cache()
        engine.generate(input_ids=[A, B], sampling_params={"temperature": 0, "max_new_tokens": 4}, rid=["one", "two"])
    told = [[outcome(engine, name, arguments) for arguments in EXAMPLES[name]] for engine in engines]
    loads = [outcome(engine, "get_load", ()) for engine in engines]
    for engine in engines:
        engine._handle.client.engine.continue_generation()
    assert told[0] == told[1]
    assert loads[0] == loads[1], "and the same effect"


def test_calls_take_their_arguments_by_name_and_refuse_wrong_ones_before_they_are_sent(engines):
    for engine in engines:
        calls = engine._handle.client.engine
        assert calls.match_prefix(token_ids=A, namespace="x") == calls.match_prefix(A, "x")
        with pytest.raises(TypeError):
            calls.token_detail()
        with pytest.raises(TypeError):
            calls.match_prefix(A, space="x")
        assert inspect.signature(calls.match_prefix) == inspect.signature(EngineCalls.match_prefix.__get__(calls))


def test_a_pause_holds_a_stream_in_the_middle_and_changes_nothing_of_it(engines):
    params = {"temperature": 0, "max_new_tokens": 800, "ignore_eos": True}
    expected = engines[0].generate(input_ids=A, sampling_params=params)["output_ids"]
    for engine in engines:
        calls = engine._handle.client.engine
        stream = engine.generate(input_ids=A, sampling_params=params, stream=True)
        next(stream)
        engine.pause_generation()
        load = calls.get_load()
        held = len(engine.log.read()[1])
        assert (load.is_paused, load.num_running) == (True, 1)
        memory = {"process_rss_bytes": 0, "available_bytes": 0}
        assert structs.replace(calls.get_load(), **memory) == structs.replace(load, **memory)
        assert len(engine.log.read()[1]) == held, "nothing is computed"
        engine.continue_generation()
        assert list(stream)[-1]["output_ids"] == expected
