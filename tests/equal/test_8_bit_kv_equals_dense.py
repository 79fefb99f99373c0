"""An engine whose K/V has 8 bits is within a small distance of one with dense K/V, and its cache changes nothing."""

from __future__ import annotations

import inspect
import math
import statistics
from functools import cache

import pytest
from tiny_models import stored

import workbench
from workbench.model.tiny import TINY_LLAMA

NUM_TOKENS = 800
KINDS = ["fp8_e5m2", "fp8_e4m3", "int8"]
BOUNDS = {"fp8_e5m2": (0.07, 0.22), "fp8_e4m3": (0.03, 0.15), "int8": (0.01, 0.1)}
"""Bounds of the distance from dense K/V: of the perplexity, as a share, and of the mean log-probability of a token, in nats.

Found for SmolLM2-135M: 4.3 to 4.9 %, 1.5 to 2.2 % and 0.4 to 0.6 %; 0.17 to 0.18, 0.10 to 0.11 and 0.06 to 0.07."""
GREEDY = {"max_new_tokens": 24, "temperature": 0, "ignore_eos": True}


def opened(path: str, kind: str, **settings: object) -> workbench.Engine:
    return workbench.Engine(path, kv_cache_dtype=kind, **{"dtype": "float32", "max_total_tokens": 4096, **settings})


@cache
def losses(path: str, kind: str, dtype: str, chunk: int) -> tuple[list[float], dict[str, object]]:
    """Returns the loss of each token of a fixed text, and what the engine said of itself."""
    with opened(path, kind, dtype=dtype, chunked_prefill_size=chunk) as engine:
        ids = list(engine.tokenizer.encode(inspect.getsource(statistics)[:24_000]))[:NUM_TOKENS]
        sampling = {"max_new_tokens": 1, "temperature": 0}
        result = engine.generate(input_ids=ids, sampling_params=sampling, return_logprob=True, logprob_start_len=0)
        found = [-entry[0] for entry in result["meta_info"]["input_token_logprobs"][1:]]
        assert len(found) == NUM_TOKENS - 1
        return found, engine.get_server_info()


@pytest.mark.heavy
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_log_probabilities_are_near_those_of_dense_keys_and_values(dtype, smollm2):
    want, dense = losses(smollm2, "auto", dtype, -1)
    for kind, (share, nats) in BOUNDS.items():
        got, info = losses(smollm2, kind, dtype, -1)
        perplexity = math.exp(statistics.mean(got) - statistics.mean(want))
        distance = statistics.mean(abs(a - b) for a, b in zip(got, want, strict=True))
        assert perplexity == pytest.approx(1, abs=share), kind
        assert 0 < distance < nats, kind
        assert info["kv_cache_dtype"] == kind
        scales = 64 / 68 if kind == "int8" else 1  # 4 bytes beside the 64 of a head
        ratio = dense["kv_bytes_per_token"] / info["kv_bytes_per_token"]
        assert ratio == pytest.approx({"float32": 4, "bfloat16": 2}[dtype] * scales)


@pytest.mark.parametrize(("backend", "num_new"), [("torch", 24), ("reference", 4)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cached_prefix_changes_no_bit_where_prompts_are_cut_alike(kind, backend, num_new, smollm2):
    greedy = GREEDY | {"max_new_tokens": num_new}
    with opened(smollm2, kind, attention_backend=backend, chunked_prefill_size=64) as engine:
        prefix = list(engine.tokenizer.encode(inspect.getsource(statistics.mean)))[:192]
        cold, warm = [], []
        for text in ("\nThe sea is", "\nIn winter", "\ndef median("):
            prompt = prefix + list(engine.tokenizer.encode(text))
            engine.flush_cache()
            cold.append(engine.generate(input_ids=prompt, sampling_params=greedy, return_logprob=True))
            engine.flush_cache()
            engine.generate(input_ids=prefix, sampling_params={"max_new_tokens": 1})
            warm.append(engine.generate(input_ids=prompt, sampling_params=greedy, return_logprob=True))
        assert [result["meta_info"]["cached_tokens"] for result in cold] == [0, 0, 0]
        assert [result["meta_info"]["cached_tokens"] for result in warm] == [192, 192, 192]
        for first, second in zip(cold, warm, strict=True):
            assert first["output_ids"] == second["output_ids"]
            assert first["meta_info"]["output_token_logprobs"] == second["meta_info"]["output_token_logprobs"]


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_prompts_that_are_cut_otherwise_differ_less_than_from_dense_ones(kind, smollm2):
    found = [losses(smollm2, kind, "float32", size)[0] for size in (-1, 100)]
    distance = statistics.mean(abs(a - b) for a, b in zip(*found, strict=True))
    assert distance < BOUNDS[kind][1] / 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """A tiny model whose heads have the size of the real one's, so that the compiled operations compute."""
    return str(stored(tmp_path_factory.mktemp("model"), TINY_LLAMA | {"hidden_size": 256, "head_dim": 64}))


@pytest.mark.parametrize("kind", KINDS)
def test_evictions_change_no_token_and_pages_add_up_after_retractions(kind, folder):
    prompts = [[i, 100 + i, *range(200, 240)] for i in range(6)]
    found = []
    for pool in (4096, 128):
        with opened(folder, kind, max_total_tokens=pool, page_size=4, skip_tokenizer_init=True) as engine:
            assert engine.get_server_info()["kv_cache_dtype"] == kind
            found.append([engine.generate(input_ids=prompt, sampling_params=GREEDY)["output_ids"] for prompt in prompts])
            memory = engine.memory()
            assert memory["tokens_free"] + memory["tokens_tree"] == pool
            touched = memory["kv_touched_bytes"] / memory["kv_bytes_per_token"]
            assert memory["tokens_tree"] <= touched <= min(pool, memory["tokens_tree"] + 40)
            assert engine.flush_cache() == memory["tokens_tree"]
            many = engine.generate(input_ids=prompts, sampling_params=GREEDY)
            assert [len(result["output_ids"]) for result in many] == [24] * 6
            assert (engine.get_server_info()["num_retractions"] > 0) == (pool == 128)
    assert found[0] == found[1]
