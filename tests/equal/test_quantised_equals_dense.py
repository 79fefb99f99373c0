"""An engine that multiplies the blocks of a file is within a small distance of one with their dense numbers."""

from __future__ import annotations

import inspect
import math
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import workbench
from workbench.hub.find import gguf_path
from workbench.kernels.build import find_compiler

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(find_compiler() is None, reason="no compiler: the dense form is the default"),
]
MODELS = [
    pytest.param("smollm2", 1000, id="smollm2"),
    pytest.param("smollm2", 4000, id="smollm2-long", marks=pytest.mark.slow),
    pytest.param("gemma3", 4000, id="gemma3", marks=pytest.mark.slow),
]
"""Models, and the number of tokens whose loss is taken."""


def text() -> str:
    """Returns prose and code of some 7,000 tokens."""
    return inspect.getsource(statistics)[:24_000]


def perplexity(engine: workbench.Engine, ids: list[int]) -> float:
    sampling = {"max_new_tokens": 1, "temperature": 0}
    result = engine.generate(input_ids=ids, sampling_params=sampling, return_logprob=True, logprob_start_len=0)
    losses = [-entry[0] for entry in result["meta_info"]["input_token_logprobs"][1:]]
    assert len(losses) == len(ids) - 1
    return math.exp(sum(losses) / len(losses))


@pytest.mark.parametrize(("model", "num_tokens"), MODELS)
def test_perplexity_is_within_one_percent(model, num_tokens, request):
    path = request.getfixturevalue(model)
    found = {}
    for form in ("dequant", None):
        with workbench.Engine(path, quantization=form, dtype="float32", max_total_tokens=8192) as engine:
            ids = list(engine.tokenizer.encode(text()))[:num_tokens]
            assert len(ids) == num_tokens
            found[engine.get_server_info()["quantization"]] = perplexity(engine, ids)
    assert set(found) == {"dequant", "gguf"}
    assert found["gguf"] == pytest.approx(found["dequant"], rel=0.01)
    assert 1 < found["gguf"] < 100


LOAD = """
import sys
from pathlib import Path
import workbench
before = {}
def memory():
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "RssFile", "RssShmem")))
with workbench.Engine(sys.argv[1], max_total_tokens=2048) as engine:
    engine.generate("The sea", {"max_new_tokens": 8})
    info = engine.get_server_info()
    import torch
    print(memory(), info["weights_bytes"], info["kv_bytes_per_token"] * 2048)
"""


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of the memory")
def test_memory_is_that_of_the_file_the_store_and_a_little(smollm2):
    file_bytes = gguf_path("smollm2-135m").stat().st_size
    said = subprocess.run([sys.executable, "-c", LOAD, smollm2], check=True, capture_output=True, text=True).stdout
    resident, weights, kv = map(int, said.split())
    assert weights <= file_bytes
    # A Python that has imported torch and transformers takes 250 MB by itself.
    assert resident <= 1.15 * file_bytes + kv + 450e6
