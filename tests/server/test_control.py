"""Sessions, other weights and profiles over HTTP, on a server of a tiny model."""

from __future__ import annotations

import base64
import gzip
import json
import os
import pickle
import re
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest
import torch
from safetensors.torch import load, save
from tiny_weights import write_checkpoint

import workbench
from workbench.bench.commands import run

A, B = [3, 1, 4, 1, 5], [9, 2, 6]
GREEDY = {"temperature": 0, "max_new_tokens": 8, "ignore_eos": True}
ARGS = {"skip_tokenizer_init": True, "dtype": "float32", "max_total_tokens": 2000, "num_threads": 1}
pytestmark = pytest.mark.process
Folders = tuple[Path, Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("models")
    return write_checkpoint(root / "old", seed=1), write_checkpoint(root / "new", seed=2)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces") / "made by the server"


@pytest.fixture(scope="module")
def server(folders, traces, server_process):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SGLANG_TORCH_PROFILER_DIR", str(traces))
        server = server_process(
            "--model-path", str(folders[0]), "--skip-tokenizer-init", "--dtype", "float32", "--max-total-tokens", "2000",
            "--num-threads", "1",
        )  # fmt: skip
    yield server
    server.close()


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def generate(http, ids, **body):
    answer = http.post("/generate", json={"input_ids": ids, "sampling_params": GREEDY, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def expected(folders):
    """The outputs of engines that were opened on each checkpoint."""
    outputs = []
    for folder in folders:
        with workbench.Engine(str(folder), **ARGS) as engine:
            outputs.append(engine.generate(input_ids=A, sampling_params=GREEDY)["output_ids"])
    return outputs


def update(http, path, route="/update_weights_from_disk", **body):
    answer = http.post(route, json={"model_path": str(path), **body})
    assert set(answer.json()) == {"success", "message"}
    assert answer.json()["success"] is (answer.status_code == 200)
    return answer.status_code, answer.json()["message"]


def test_the_weights_change_and_change_back(http, folders, expected):
    assert generate(http, A)["output_ids"] == expected[0]
    assert update(http, folders[1]) == (200, "Succeeded to update model weights.")
    result = generate(http, A)
    assert (result["output_ids"], result["meta_info"]["cached_tokens"]) == (expected[1], 0)
    assert http.get("/get_model_info").json() == {
        "model_path": str(folders[1]), "tokenizer_path": str(folders[0]), "is_generation": True,
    }  # fmt: skip
    assert http.get("/v1/models").json()["data"][0]["id"] == str(folders[0]), "its name stays"
    assert update(http, folders[0], "/update_weights", load_format="safetensors")[0] == 200
    assert generate(http, A)["output_ids"] == expected[0]


def test_an_update_that_fails_says_why_and_changes_nothing(http, tmp_path, expected):
    assert update(http, "nobody/nothing-of-this-name") == (
        400, "Failed to get weights iterator: nobody/nothing-of-this-name (repository not found).",
    )  # fmt: skip
    status, message = update(http, write_checkpoint(tmp_path / "wide", intermediate_size=96))
    assert (status, "intermediate_size = 96, the engine runs 64" in message) == (400, True)
    assert generate(http, A)["output_ids"] == expected[0]
    for body in ({}, {"model_path": ""}, {"model_path": 3}, {"model_path": "x", "load_format": "pickle"}):
        answer = http.post("/update_weights_from_disk", json=body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_weights_come_as_tensors_in_the_body(http, folders, expected):
    whole = (folders[1] / "model.safetensors").read_bytes()
    tensors = load(whole)
    halves = [save(dict(part)) for part in (list(tensors.items())[::2], list(tensors.items())[1::2])]
    raw = {"content": whole, "headers": {"content-type": "application/octet-stream"}}
    texts = {"json": {"serialized_named_tensors": [base64.b64encode(half).decode() for half in halves]}}
    for sent in (raw, texts):
        assert update(http, folders[0])[0] == 200
        assert generate(http, A)["output_ids"] == expected[0]
        answer = http.post("/update_weights_from_tensor", **sent)
        assert answer.json() == {"success": True, "message": "Succeeded to update model weights."}
        result = generate(http, A)
        assert (result["output_ids"], result["meta_info"]["cached_tokens"]) == (expected[1], 0)
    update(http, folders[0])


def test_tensors_that_do_not_fit_change_nothing(http, folders, expected):
    update(http, folders[0])
    wide, other = ({name: torch.zeros(3)} for name in ("model.norm.weight", "model.nothing"))
    pickled = pickle.dumps({"model.norm.weight": [1.0]})
    sent = [
        (save(wide), "model.norm.weight"), (save(other), "model.nothing"), (pickled, "pickled"),
        (b"x" * 30, "no tensors"), (b"", ""),
    ]  # fmt: skip
    for content, said in sent:
        answer = http.post("/update_weights_from_tensor", content=content, headers={"content-type": "application/octet-stream"})
        assert (answer.status_code, said in answer.text) == (400, True), answer.text
    twice = [base64.b64encode(save(wide)).decode()] * 2
    for body in ({}, {"serialized_named_tensors": []}, {"serialized_named_tensors": ["%"]}, {"serialized_named_tensors": twice}):
        assert http.post("/update_weights_from_tensor", json=body).status_code == 400
    assert generate(http, A)["output_ids"] == expected[0]


def test_an_engine_that_is_started_again_has_the_weights_of_the_last_update(server, http, folders, expected):
    assert update(http, folders[1])[0] == 200
    (child,) = psutil.Process(server.process.pid).children()
    os.kill(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and [p.pid for p in psutil.Process(server.process.pid).children()] in ([], [child.pid]):
        time.sleep(0.1)
    while http.get("/health").status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert generate(http, A)["output_ids"] == expected[1]
    assert update(http, folders[0])[0] == 200
    assert generate(http, A)["output_ids"] == expected[0]


def test_a_session_is_opened_continued_branched_and_closed(http):
    session = http.post("/open_session", json={"capacity_of_str_len": 1000}).json()
    assert isinstance(session, str)
    assert http.post("/open_session", json={"capacity_of_str_len": 1000, "session_id": session}).status_code == 400
    first = generate(http, A, session_params={"id": session, "rid": None, "offset": None, "replace": None})
    rid, whole = first["meta_info"]["id"], [*A, *first["output_ids"]]
    dropped = generate(http, B, session_params={"id": session, "rid": rid, "offset": -1, "replace": True})
    assert dropped["output_ids"] == generate(http, [*whole[:-1], *B])["output_ids"]
    params = [{"id": session, "rid": rid}, {"id": session, "rid": dropped["meta_info"]["id"]}]
    both = http.post("/generate", json={"input_ids": [B, B], "sampling_params": GREEDY, "session_params": params}).json()
    assert both[0]["output_ids"] == generate(http, [*whole, *B])["output_ids"]
    assert both[1]["meta_info"]["prompt_tokens"] == len(whole) - 1 + len(B) + 8 + len(B)
    unknown = {"input_ids": A, "sampling_params": GREEDY, "session_params": {"id": session, "rid": "unknown"}}
    assert http.post("/generate", json=unknown).status_code == 400
    assert http.post("/close_session", json={"session_id": session}).status_code == 200
    assert http.post("/generate", json=unknown | {"session_params": {"id": session}}).status_code == 400
    assert http.post("/close_session", json={"session_id": session}).status_code == 400


def test_a_client_that_leaves_spoils_no_session(http):
    session = http.post("/open_session", json={}).json()
    body = {
        "input_ids": A, "sampling_params": GREEDY | {"max_new_tokens": 400}, "stream": True, "rid": "left",
        "session_params": {"id": session},
    }  # fmt: skip
    with http.stream("POST", "/generate", json=body) as answer:
        next(answer.iter_lines())
    again = {"input_ids": B, "sampling_params": GREEDY, "session_params": {"id": session, "rid": "left"}}
    deadline = time.monotonic() + 60
    while (status := http.post("/generate", json=again).status_code) != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert status == 200
    while http.get("/get_load").json()["num_running"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert http.get("/get_load").json()["num_running"] == 0


def test_a_profile_is_a_trace_of_the_engine(http, traces):
    assert http.post("/stop_profile").status_code == 400, "none was started"
    assert http.post("/start_profile", json={"output_dir": "elsewhere"}).status_code == 400
    assert http.post("/start_profile").status_code == 200
    assert http.get("/start_profile").status_code == 400, "one at a time"
    generate(http, A)
    answer = http.post("/stop_profile")
    assert answer.status_code == 200
    path = Path(answer.text.strip())
    assert path.parent == traces
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    assert any(event["name"].startswith("aten::") for event in events)


def test_the_serving_benchmark_records_a_profile(http, traces, capsys):
    sizes = ("--num-prompts", "2", "--random-input", "8", "--random-output", "3", "--vocab-size", "250")
    load = ["--base-url", str(http.base_url), "--dataset-name", "random", *sizes]
    assert run("serving", [*load, "--profile"]) == 0
    path = Path(re.search(r"trace: (.*)", capsys.readouterr().out)[1])
    assert path.parent == traces
    assert path.is_file()
    http.post("/start_profile")
    assert run("serving", [*load, "--profile"]) == 2, "another is being recorded"
    http.post("/stop_profile")


def test_a_profile_needs_a_folder_of_the_environment(monkeypatch):
    from workbench.config import profile_folder
    from workbench.errors import InvalidRequest

    for name in ("WORKBENCH_TORCH_PROFILER_DIR", "SGLANG_TORCH_PROFILER_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidRequest, match="WORKBENCH_TORCH_PROFILER_DIR"):
        profile_folder()
