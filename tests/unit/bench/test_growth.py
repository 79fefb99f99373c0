"""The benchmark of growth decodes the streams and contexts that it names, and writes every number and chart."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
import torch

from workbench.bench.commands import run
from workbench.bench.growth import STEPS, Cost, Decoding, Growth, fill, planning
from workbench.bench.one_batch import open_runner
from workbench.config import ServerArgs
from workbench.engine.plan import Sampled, SeqResult, StepResult
from workbench.model.tiny import write_config

TINY = ["--load-format", "dummy", "--skip-tokenizer-init", "--device", "cpu", "--dtype", "float32", "--num-threads", "1"]
SIZES = ["--streams", "1", "3", "--stream-context", "20", "--contexts", "40", "700", "--nodes", "9", "90", "--rounds", "2"]


class RememberingRunner:
    """A runner that keeps the plans."""

    vocab_size = 1000

    def __init__(self) -> None:
        self.plans = []

    def execute(self, plan):
        self.plans.append(plan)
        return StepResult(tuple(SeqResult((Sampled(7),)) for _ in plan.seqs))


@pytest.mark.parametrize("page_size", [1, 4])
def test_every_stream_decodes_one_token_in_slots_of_its_own(page_size):
    runner = RememberingRunner()
    batch = Decoding(runner, 3, 16, page_size)
    for _ in range(STEPS):
        batch.step()
    for number, plan in enumerate(runner.plans):
        pages = [page for seq in plan.seqs for segment in seq.segments for page in segment.pages]
        assert len(set(pages)) == len(pages)
        for seq in plan.seqs:
            assert (seq.is_decode, seq.num_new, seq.num_cached) == (True, 1, 16 + number)
            assert 0 <= sum(len(segment.pages) for segment in seq.segments) * page_size - seq.num_tokens < page_size
        assert len({seq.segments[0].node_id for seq in plan.seqs}) == 3


def test_planning_is_measured_on_trees_of_the_sizes_asked_for():
    growth = planning([9, 90])
    assert set(growth.costs) == {"admits a request", "decodes"}
    for costs in growth.costs.values():
        assert [cost.size for cost in costs] == [9, 90]
        assert all(0 < cost.low_ms <= cost.median_ms <= cost.high_ms for cost in costs)


def test_a_cost_is_the_median_and_the_quartiles_in_milliseconds():
    assert Cost.of(5, [0.001, 0.002, 0.003, 0.004, 0.1]) == Cost(5, 3.0, pytest.approx(1.5), pytest.approx(52))
    growth = Growth("t", "nodes", {"a": [Cost(1, 3, 1, 5), Cost(10, 6, 5, 7)]})
    assert growth.to_markdown().splitlines()[2:] == ["| 1 | 3 (1 to 5) |", "| 10 | 6 (5 to 7) |"]


def test_numbers_and_charts_of_the_tiny_model_are_written(tmp_path, capsys):
    model, output = write_config(tmp_path / "model"), tmp_path / "out"
    assert run("growth", ["--model-path", str(model), *TINY, *SIZES, "--output", str(output)]) == 0
    assert capsys.readouterr().out.count("\n| ---") == 3
    found = json.loads((output / "growth.json").read_text())
    assert found["model"] == str(model)
    assert found["dtype"] == "float32"
    assert found["machine"]
    assert found["kernels"]
    for axis, sizes in {"streams": [1, 3], "contexts": [40, 700], "nodes": [9, 90]}.items():
        for costs in found[axis]["costs"].values():
            assert [cost["size"] for cost in costs] == sizes
            assert all(cost["median_ms"] > 0 for cost in costs)
        assert found[axis]["title"] in (ElementTree.parse(output / f"growth-{axis}.svg").getroot().get("aria-label") or "")


def test_contexts_are_random_numbers_in_every_layer(tmp_path):
    settings = {"load_format": "dummy", "skip_tokenizer_init": True, "device": "cpu", "dtype": "float32"}
    runner, _ = open_runner(ServerArgs(model_path=str(write_config(tmp_path)), max_total_tokens=1500, **settings), 1500)
    for layer in range(2):
        runner.kv.write(layer, torch.arange(1500), torch.zeros(1500, 2, 8), torch.zeros(1500, 2, 8))
    fill(runner, 1400)
    for layer in range(2):
        for numbers in runner.kv.read(layer, torch.arange(1500)):
            by_slot = numbers.std((1, 2))
            assert by_slot[:1400].min() > 0.2
            assert by_slot[1400:].max() == 0


def test_positions_and_room_that_do_not_suffice_are_refused(tmp_path, capsys):
    model = ["--model-path", str(write_config(tmp_path)), *TINY, *SIZES]
    assert run("growth", [*model, "--json-model-override-args", '{"max_position_embeddings": 300}']) == 2
    assert "contexts is 705, it must be at most 300" in capsys.readouterr().err
    assert run("growth", [*model, "--max-total-tokens", "64"]) == 2
    assert "max_total_tokens is 64, it must be at least 706" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--nodes", "3", "20"], "nodes is 3, it must be at least 9"), (["--streams", "1"], "streams is 1, it must be at least 2")],
)
def test_sizes_that_cannot_be_measured_are_refused(flags, message, capsys):
    assert run("growth", flags) == 2
    assert message in capsys.readouterr().err
