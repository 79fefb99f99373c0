"""The benchmark of one batch, against a running server and one that it starts."""

from __future__ import annotations

import json

import pytest

from workbench.bench.commands import run
from workbench.model.tiny import write_config


def results(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_combination_is_measured_once(real_server, tmp_path, capsys):
    file = tmp_path / "result.jsonl"
    sizes = ["--batch", "1", "3", "--input", "8", "--output", "2", "5"]
    assert (
        run("one_batch_server", ["--base-url", real_server.url, *sizes, "--run-name", "a", "--result-filename", str(file)]) == 0
    )
    found = results(file)
    tried = [(one["batch_size"], one["input_len"], one["output_len"]) for one in found]
    assert tried == [
        (1, 8, 2),
        (1, 8, 5),
        (3, 8, 2),
        (3, 8, 5),
    ]
    for one in found:
        assert 0 < one["ttft"] < one["latency"]
        num_new = one["batch_size"] * one["output_len"]
        assert one["output_throughput"] == pytest.approx(num_new / one["latency"], rel=0.01)
        assert one["overall_throughput"] == pytest.approx((one["batch_size"] * 8 + num_new) / one["latency"], rel=0.01)
        assert one["input_throughput"] == pytest.approx(one["batch_size"] * 8 / one["ttft"], rel=0.01)
    assert "(input + output) throughput:" in capsys.readouterr().out


@pytest.mark.process
def test_a_server_is_started_without_an_address(tmp_path):
    file = tmp_path / "result.jsonl"
    model = ["--model-path", str(write_config(tmp_path / "model")), "--load-format", "dummy", "--skip-tokenizer-init"]
    assert (
        run(
            "one_batch_server",
            [*model, "--max-total-tokens", "1000", "--input-len", "4", "--output-len", "2", "--result-filename", str(file)],
        )
        == 0
    )
    assert len(results(file)) == 1


@pytest.mark.parametrize("more, says", [(["--output-len", "0"], "at least 1"), ([], "no answer to /get_server_info")])
def test_what_cannot_be_measured_is_refused(more, says, capsys):
    assert run("one_batch_server", ["--base-url", "http://127.0.0.1:9", *more]) == 2
    assert says in capsys.readouterr().err
