"""The parts of a step add up to the step."""

from __future__ import annotations

import pytest
from tiny_weights import write_checkpoint

from workbench.bench import overhead
from workbench.config import ServerArgs
from workbench.engine.sampler import Sampler


def test_the_parts_of_a_step_are_measured_for_each_number_of_streams(tmp_path, monkeypatch):
    monkeypatch.setattr(overhead, "STREAMS", (1, 3))
    plain = Sampler.sample
    args = ServerArgs(model_path=str(write_checkpoint(tmp_path)), skip_tokenizer_init=True, max_total_tokens=1024)
    head, _, *rows = overhead.step_parts(args, 1).splitlines()
    assert "| plan | model | sample | commit | deliver | step (ms) |" in head
    assert [row.split("|")[1].strip() for row in rows] == ["1", "3"]
    for row in rows:
        *parts, whole = map(float, row.split("|")[2:8])
        assert 0 < parts[1] < whole
        assert sum(parts) == pytest.approx(whole, rel=0.5), "medians do not add up exactly"
    assert Sampler.sample is plain
