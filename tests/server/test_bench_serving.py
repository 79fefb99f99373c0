"""The serving benchmark against a server process, and its numbers beside numpy's."""

from __future__ import annotations

import json

import numpy as np
import pytest

from workbench.bench.commands import run
from workbench.bench.serving_client import Outcome
from workbench.bench.serving_data import records
from workbench.bench.serving_load import percentile, summary

SMALL = ["--num-prompts", "3", "--random-input-len", "20", "--random-output-len", "4"]
GROUPS = [
    "--gsp-num-groups", "1", "--gsp-prompts-per-group", "3", "--gsp-system-prompt-len", "40", "--gsp-question-len", "4",
    "--gsp-output-len", "4", "--max-concurrency", "1",
]  # fmt: skip
CHATS = ["--num-chats", "1", "--num-turns", "3", "--system-len", "20", "--turn-len", "3", "--random-output-len", "4"]


@pytest.mark.parametrize(
    "backend, dataset, more, num, num_output",
    [
        ("workbench", "random", SMALL, 3, None), ("vllm", "random", [*SMALL, "--request-rate", "50"], 3, None),
        ("sglang", "generated-shared-prefix", GROUPS, 3, 12), ("chat", "multi-turn", CHATS, 3, 12),
    ],
)  # fmt: skip
def test_a_load_is_sent_and_counted(real_server, tmp_path, backend, dataset, more, num, num_output):
    file = tmp_path / "numbers.jsonl"
    assert run("serving", ["--base-url", real_server.url, "--backend", backend, "--dataset-name", dataset, *more,
                           "--output-file", str(file)]) == 0  # fmt: skip
    numbers = json.loads(file.read_text())
    assert (numbers["requests"], numbers["failed"]) == (num, 0)
    assert numbers["output tokens"] == num_output or num_output is None
    assert 0 < numbers["TTFT p50, ms"] <= numbers["end to end p50, ms"]
    if dataset != "random":
        assert numbers["cached tokens"] > 0


def test_a_server_that_is_not_there_is_an_error_in_two_lines(capsys):
    assert run("serving", ["--port", "9"]) == 2
    assert "no server lists its models" in capsys.readouterr().err


def test_failures_are_counted_and_not_timed():
    numbers = summary([Outcome(error="x"), Outcome(ttft=1.0, latency=2.0, output_tokens=10)], 4.0)
    assert (numbers["failed"], numbers["requests per second"], numbers["output tokens per second"]) == (1, 0.25, 2.5)
    assert numbers["TTFT p99, ms"] == 1000


def test_percentiles_are_numpys():
    values = list(np.random.default_rng(0).random(57))
    for percent in (50, 90, 99):
        assert percentile(values, percent) == pytest.approx(np.percentile(values, percent))


def test_a_file_that_is_cut_off_is_read_up_to_there(tmp_path):
    path = tmp_path / "cut.json"
    path.write_text('[{"id": 1, "conversations": [{"value": "a {"}]}, {"id": 2}, {"id": 3, "conv')
    assert [record["id"] for record in records(path)] == [1, 2]
