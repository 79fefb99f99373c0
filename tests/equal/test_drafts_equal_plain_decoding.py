"""A model that verifies drafts gives the same outputs as token by token, however tokens are drawn."""

from __future__ import annotations

import random

import pytest
import torch
from tiny_models import open_runner, stored

from workbench.engine.sampler import Sampler
from workbench.testing import make_core, make_request, run_to_end

VOCAB = 300
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": 32,
    "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}  # fmt: skip
PARAMS = [
    {"temperature": 0},
    {"temperature": 1.0},
    {"temperature": 0.8, "top_p": 0.9, "top_k": 50},
    {"temperature": 0.7, "repetition_penalty": 1.3, "frequency_penalty": 0.4},
    {"temperature": 0, "min_new_tokens": 9, "stop_token_ids": list(range(0, VOCAB, 7))},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("tiny"), CONFIG)


def outputs(folder, backend, params, propose=None, page_size=1):
    runner = open_runner(folder, backend)
    runner.sampler = Sampler(VOCAB)
    core = make_core(num_tokens=1024, vocab_size=VOCAB, context_length=200, page_size=page_size, runner=runner, propose=propose)
    for i in range(5):
        prompt = [*range(20), *range(i, 3 * i)]
        core.add(make_request(f"r{i}", prompt, 24, params, seed=i, return_logprob=True, top_logprobs_num=2))
    return run_to_end(core), core.scheduler.num_steps


@pytest.mark.parametrize("params", PARAMS, ids=["greedy", "sampled", "filtered", "penalties", "minimum"])
@pytest.mark.parametrize("backend, page_size", [("torch", 1), ("torch", 4), ("reference", 1)])
def test_outputs_with_drafts_equal_those_without(folder, backend, page_size, params):
    plain, num_plain = outputs(folder, backend, params, page_size=page_size)

    def propose(seq):
        rng, at = random.Random(f"{seq.rid} {len(seq.output_ids)}"), len(seq.output_ids)
        right = plain[seq.rid].token_ids[at : at + rng.randrange(6)]
        return tuple(token if rng.random() < 0.8 else rng.randrange(VOCAB) for token in right)

    drafted, num_drafted = outputs(folder, backend, params, propose, page_size)
    assert num_drafted < num_plain
    for rid, output in plain.items():
        assert drafted[rid].token_ids == output.token_ids
        assert drafted[rid].finish == output.finish
        ours, theirs = drafted[rid].logprobs, output.logprobs
        assert [entry.token_id for entry in ours] == output.token_ids
        assert torch.tensor([e.logprob for e in ours]).allclose(torch.tensor([e.logprob for e in theirs]), atol=1e-4)
