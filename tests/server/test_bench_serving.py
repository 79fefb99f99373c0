"""The serving benchmark against a server process."""

from __future__ import annotations

import json

import pytest

from workbench.bench.commands import run

SMALL = ["--num-prompts", "3", "--random-input-len", "20", "--random-output-len", "4"]
GROUPS = [
    "--gsp-num-groups", "1", "--gsp-prompts-per-group", "3", "--gsp-system-prompt-len", "40", "--gsp-question-len", "4",
    "--gsp-output-len", "4", "--max-concurrency", "1",
]  # fmt: skip
CHATS = ["--num-chats", "1", "--num-turns", "3", "--system-len", "20", "--turn-len", "3", "--turn-output-len", "4"]


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
    assert (numbers["completed"], numbers["failed"]) == (num, 0)
    assert numbers["total_output_tokens"] == num_output or num_output is None
    assert 0 < numbers["median_ttft_ms"] <= numbers["median_e2e_latency_ms"]
    if dataset != "random":
        assert numbers["total_cached_tokens"] > 0


@pytest.fixture
def talks(tmp_path):
    """Function that writes a ShareGPT file with these questions and returns its path."""

    def write(*questions):
        path = tmp_path / "talks.json"
        path.write_text(json.dumps([{"conversations": [{"value": one}, {"value": "It is so, I think."}]} for one in questions]))
        return str(path)

    return write


def load(url, tmp_path, *args):
    """Runs the benchmark; returns its lines of numbers."""
    file = tmp_path / "numbers.jsonl"
    assert run("serving", ["--base-url", url, *args, "--output-file", str(file)]) == 0
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_questions_of_conversations_are_sent_as_text_or_as_messages(real_server, tmp_path, talks):
    given = ["--dataset-path", talks("What is two plus two?", "Is it raining now?"), "--sharegpt-output-len", "3"]
    (text,) = load(real_server.url, tmp_path, *given)
    templated = load(real_server.url, tmp_path, *given, "--apply-chat-template")[-1]
    chat = load(real_server.url, tmp_path, *given, "--backend", "chat")[-1]
    assert text["completed"] == chat["completed"] == 2
    assert text["total_output_tokens"] == 6
    assert text["total_input_tokens"] < templated["total_input_tokens"] == chat["total_input_tokens"]


def test_conversations_above_the_context_are_left_out(real_server, tmp_path, talks):
    path = talks("What is two plus two?", "Is it raining now, " + "or later " * 30)
    (numbers,) = load(real_server.url, tmp_path, "--dataset-path", path, "--sharegpt-context-len", "30")
    assert numbers["completed"] == 1


def test_each_rate_is_measured_with_an_empty_cache(real_server, tmp_path):
    first, second = load(
        real_server.url, tmp_path, "--dataset-name", "random", *SMALL, "--multi", "--request-rate-range", "40,90"
    )
    assert (first["request_rate"], second["request_rate"]) == (40, 90)
    assert first["total_input_tokens"] == second["total_input_tokens"]
    assert second["total_cached_tokens"] == 0


@pytest.mark.parametrize("backend", ["sglang", "sglang-oai"])
def test_whole_answers_have_one_time(real_server, tmp_path, backend):
    (numbers,) = load(real_server.url, tmp_path, "--dataset-name", "random", *SMALL, "--disable-stream", "--backend", backend)
    assert numbers["completed"] == 3
    assert numbers["median_ttft_ms"] == numbers["median_e2e_latency_ms"] > 0


def test_bodies_take_more_fields(real_server, tmp_path, capsys):
    more = ["--return-logprob", "--extra-request-body", '{"logprob_start_len": 0, "top_logprobs_num": 2}']
    assert load(real_server.url, tmp_path, "--dataset-name", "random", *SMALL, *more)[0]["completed"] == 3
    wrong = ["--extra-request-body", '{"top_logprobs_num": "two"}']
    assert run("serving", ["--base-url", real_server.url, "--dataset-name", "random", *SMALL, *wrong]) == 2
    assert "the first request failed" in capsys.readouterr().err


def test_the_lines_of_the_reference_are_printed(real_server, capsys):
    assert run("serving", ["--base-url", real_server.url, "--dataset-name", "random", *SMALL, "--seed", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "============ Serving Benchmark Result ============"
    assert {"Successful requests:", "Output token throughput (tok/s):", "P99 TTFT (ms):", "Median ITL (ms):"} <= {
        line[:40].strip() for line in lines
    }


def test_a_server_that_is_not_there_is_an_error_in_two_lines(capsys):
    assert run("serving", ["--port", "9"]) == 2
    assert "no answer to /v1/models" in capsys.readouterr().err
