"""An engine states the bytes that a decode step reads, and measures the bandwidth of its memory when asked."""

from __future__ import annotations

import time
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_text import write_text_model

import workbench as wb
from workbench.checkpoint.gguf_file import GgufFile
from workbench.engine.bandwidth import memory_bandwidth
from workbench.errors import NotSupported
from workbench.events import BandwidthMeasured, StepExecuted
from workbench.model.tiny import TINY_GEMMA3, TINY_LLAMA, write_config
from workbench.testing import make_client, make_core
from workbench.views.reads import DecodeReads
from workbench.views.throughput.fold import ThroughputFold


def engine(folder: Path, **settings: object) -> wb.Engine:
    usual = {"load_format": "dummy", "device": "cpu", "dtype": "float32", "skip_tokenizer_init": True, "max_total_tokens": 256}
    return wb.Engine(model_path=str(folder), **usual | settings)


def test_the_weights_that_a_step_reads_are_all_but_an_embedding_that_is_no_head(tmp_path: Path):
    tied, untied = (write_config(tmp_path / str(ties), TINY_LLAMA, tie_word_embeddings=ties) for ties in (True, False))
    with engine(tied) as one, engine(untied) as other:
        ties, apart = one.get_server_info(), other.get_server_info()
    table = 256 * 32 * 4
    assert ties["decode_weights_bytes"] == ties["weights_bytes"]
    assert apart["weights_bytes"] == ties["weights_bytes"] + table
    assert apart["decode_weights_bytes"] == ties["decode_weights_bytes"] + 32 * 4, "one row of the table"


def test_layers_with_a_window_are_told_apart(tmp_path: Path):
    with engine(write_config(tmp_path / "gemma", TINY_GEMMA3)) as gemma:
        info = gemma.get_server_info()
    assert info["kv_bytes_per_token"] == 3 * 2 * (8 + 8) * 4
    assert (info["kv_window"], info["kv_window_bytes_per_token"]) == (16, 2 * 2 * (8 + 8) * 4)


@pytest.mark.model
def test_the_real_model_reads_the_tensors_of_its_file(smollm2: str):
    tensors = GgufFile(smollm2).tensors
    expected = sum(prod(t.shape) * 2 if len(t.shape) == 1 else t.num_rows * t.row_bytes for t in tensors.values())
    with wb.Engine(model_path=smollm2, dtype="bfloat16", device="cpu", max_total_tokens=512) as running:
        assert running.get_server_info()["decode_weights_bytes"] == expected
        assert running.get_server_info()["memory_bandwidth"] is None, "nothing is measured unasked"
        running.generate("The sea", {"max_new_tokens": 16, "ignore_eos": True})
        view = running.view("throughput", live=False)
        assert "memory read per token" in view.to_text()
        assert "GiB/s" not in view.to_text()
        found = running.measure_bandwidth()
        assert running.get_server_info()["memory_bandwidth"] == found
        assert [event.bytes_per_s for event in running.log.read()[1] if isinstance(event, BandwidthMeasured)] == [found]
        reads = DecodeReads(running.get_server_info())
        for event in running.log.read()[1]:
            if isinstance(event, StepExecuted):
                reads.add(event)
        assert expected < reads.bytes_per_token < expected * 1.02
        assert 0 < reads.bytes_per_s < 100 * found, "in the same unit; both are measured, on a machine that may be busy"
        facts = running.view("throughput", live=False).to_dict()["facts"]
        assert ["memory read per token", reads.words(found)] in facts


@pytest.mark.process
def test_an_engine_in_a_child_process_measures_there(tmp_path: Path):
    with engine(write_text_model(tmp_path), skip_tokenizer_init=False, process=True) as running:
        assert running.measure_bandwidth() == running.get_server_info()["memory_bandwidth"] > 0


def test_a_view_that_begins_late_has_the_bandwidth_too(tmp_path: Path):
    with engine(write_config(tmp_path / "llama", TINY_LLAMA), event_log_size=16) as running:
        found = running.measure_bandwidth()
        running.generate(input_ids=[1, 2, 3], sampling_params={"max_new_tokens": 40, "ignore_eos": True})
        assert not any(isinstance(event, BandwidthMeasured) for event in running.log.read()[1]), "the log is full"
        view = running.view("throughput", live=False)
        assert "GiB/s" in view.to_text()
        assert f"{found / 2**30:.1f} GiB/s" in view.to_text()


def test_an_engine_without_a_model_has_no_memory_to_measure():
    client = make_client(make_core())
    with pytest.raises(NotSupported, match="no device"):
        client.engine.measure_bandwidth()
    client.close()
    assert "memory read" not in ThroughputFold().picture().to_text()


def test_the_bandwidth_is_that_of_reading_with_all_threads():
    """One thread of numpy, at its best, reads no more than all together, up to what a busy machine takes away."""
    found = memory_bandwidth(torch.device("cpu"))
    array, times = np.ones(64 << 20, np.float32), []
    for _ in range(5):
        began = time.perf_counter()
        assert array.sum() == 64 << 20
        times.append(time.perf_counter() - began)
    assert 0.01 * array.nbytes / min(times) < found < 100 * array.nbytes / min(times)
