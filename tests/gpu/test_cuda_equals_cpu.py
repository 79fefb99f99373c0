"""The engine on a GPU gives the tokens and log-probabilities of the engine on the CPU, in float32."""

from __future__ import annotations

import pytest
import torch

from workbench.model.tiny import TINY_GEMMA3, TINY_LLAMA, write_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
PROMPTS = [list(range(10, 80)), list(range(10, 60)) + [7] * 20, [3], list(range(200, 20, -1))]


def answers(folder, device, **args):
    from workbench import Engine

    with Engine(str(folder), load_format="dummy", skip_tokenizer_init=True, dtype="float32", device=device,
                random_seed=1, max_total_tokens=4096, **args) as engine:  # fmt: skip
        params = {"temperature": 0, "max_new_tokens": 20, "ignore_eos": True}
        cold = engine.generate(input_ids=PROMPTS, sampling_params=params, return_logprob=True)
        warm = engine.generate(input_ids=PROMPTS, sampling_params=params, return_logprob=True)
    return [
        [(r["output_ids"], [entry[0] for entry in r["meta_info"]["output_token_logprobs"]]) for r in run] for run in (cold, warm)
    ]


@pytest.mark.parametrize("config", [TINY_LLAMA, TINY_GEMMA3], ids=["llama", "gemma3"])
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_tokens_and_logprobs_equal_those_of_the_cpu(tmp_path, config, backend):
    folder = write_config(tmp_path, config)
    for gpu, cpu in zip(answers(folder, "cuda", attention_backend=backend), answers(folder, "cpu"), strict=True):
        for (ids, logprobs), (want_ids, want_logprobs) in zip(gpu, cpu, strict=True):
            assert ids == want_ids
            assert logprobs == pytest.approx(want_logprobs, abs=1e-3)
