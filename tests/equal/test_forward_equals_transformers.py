"""The forward pass on hand-made plans equals transformers with the same seeded weights, for both families."""

from __future__ import annotations

import pytest
import torch
import transformers
from tiny_models import logits_of, open_runner, planned, stored

from workbench.attention.registry import BACKENDS
from workbench.model.load import load_model
from workbench.model.tiny import TINY_GEMMA3, TINY_LLAMA, write_config
from workbench.types import Segment

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CONFIGS = {
    "llama": TINY_LLAMA,
    "llama biased, untied": TINY_LLAMA | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    "llama one kv head": TINY_LLAMA | {"num_key_value_heads": 1, "head_dim": 16},
    "llama linear rope": TINY_LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "llama 3 rope": TINY_LLAMA | {"rope_scaling": LLAMA3_ROPE},
    "llama 5 rope": {k: v for k, v in TINY_LLAMA.items() if k != "rope_theta"}
    | {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "gemma3": TINY_GEMMA3,
}


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda name: name.replace(" ", "-"))
def pair(request, tmp_path_factory):
    folder = stored(tmp_path_factory.mktemp("model"), CONFIGS[request.param])
    return folder, transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.inference_mode()
def reference(pair, tokens: list[int]) -> torch.Tensor:
    return pair[1](torch.tensor([tokens])).logits[0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cuts", [(90,), (40, 90), (1, 2, 30, 89, 90), tuple(range(1, 91))], ids=len)
def test_whole_chunked_and_token_by_token_prefill_equal_transformers(pair, backend, cuts):
    runner = open_runner(pair[0], backend)
    tokens = torch.randint(0, 256, (90,), generator=torch.Generator().manual_seed(1)).tolist()
    pages = torch.randperm(1024, generator=torch.Generator().manual_seed(2))[:90].tolist()
    got, start = [], 0
    for end in cuts:
        got.append(logits_of(runner, planned(1, tokens, start, end, [Segment(0, tuple(pages[:end]))])))
        start = end
    torch.testing.assert_close(torch.cat(got), reference(pair, tokens), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tree_of_shared_prefixes_decoded_in_one_batch_equals_transformers(pair, backend):
    """root (130 tokens) -> two branches (70, 20) -> five sequences with tails of their own; then prefill beside decode."""
    runner = open_runner(pair[0], backend)
    rng = torch.Generator().manual_seed(3)

    def draw(count: int) -> list[int]:
        return torch.randint(0, 256, (count,), generator=rng).tolist()

    root, left, right = draw(130), draw(70), draw(20)
    trunk, branches = Segment(1, tuple(range(130))), (Segment(2, tuple(range(130, 200))), Segment(3, tuple(range(220, 200, -1))))
    logits_of(runner, planned(90, root, 0, 130, [trunk]))
    logits_of(
        runner,
        planned(91, root + left, 130, 200, [trunk, branches[0]]),
        planned(92, root + right, 130, 150, [trunk, branches[1]]),
    )
    seqs = []
    for i in range(5):
        side = i % 2
        tail = draw(12)
        path = [trunk, branches[side]]
        tokens = root + (right if side else left) + tail
        seqs.append((i, tokens, path, len(tokens) - 12, list(range(300 + 40 * i, 300 + 40 * i + 12))))
    for step in range(12):  # all five prefill 4 tokens together, then decode; the third joins late
        batch = []
        for i, tokens, path, shared, pages in seqs:
            done = 0 if step == 0 else step + 3
            if i == 2:
                done = step
            size = 4 if done == 0 else 1
            if done < 12:
                segments = [*path, Segment(0, tuple(pages[: done + size]))]
                end = shared + done + size
                batch.append((tokens, end, planned(i, tokens, shared + done, end, segments)))
        if not batch:
            break
        got = logits_of(runner, *(seq for _, _, seq in batch))
        row = 0
        for tokens, end, seq in batch:
            expected = reference(pair, tokens[:end])[-seq.num_new :]
            torch.testing.assert_close(got[row : row + seq.num_new], expected, rtol=1e-4, atol=1e-4)
            row += seq.num_new


@pytest.mark.parametrize("page_size", [4, 16])
def test_larger_pages_equal_transformers(pair, page_size):
    runner = open_runner(pair[0], "torch")
    tokens = torch.randint(0, 256, (50,), generator=torch.Generator().manual_seed(5)).tolist()
    pages = torch.randperm(1024 // page_size, generator=torch.Generator().manual_seed(2)).tolist()
    got, start = [], 0
    for end in (20, 33, 49, 50):
        segment = Segment(0, tuple(pages[: -(-end // page_size)]))
        got.append(logits_of(runner, planned(1, tokens, start, end, [segment]), page_size=page_size))
        start = end
    torch.testing.assert_close(torch.cat(got), reference(pair, tokens), rtol=1e-4, atol=1e-4)


def test_an_own_long_run_is_read_in_place_and_equals_the_oracle(tmp_path):
    folder = stored(tmp_path, TINY_LLAMA | {"max_position_embeddings": 2048})
    runners = {name: open_runner(folder, name, 2048) for name in BACKENDS}
    tokens = torch.randint(0, 256, (800,), generator=torch.Generator().manual_seed(6)).tolist()
    node = Segment(7, tuple(range(700)))
    steps = [(0, 700), (700, 720), *((n, n + 1) for n in range(720, 740))]
    for start, end in steps:
        segments = [node] if end == 700 else [node, Segment(0, tuple(range(900, 200 + end)))]
        fast, plain = (logits_of(runner, planned(1, tokens, start, end, segments)) for runner in runners.values())
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


def test_dummy_weights_are_seeded_and_the_override_changes_the_model(tmp_path):
    folder = write_config(tmp_path)
    how = {"dtype": torch.float32, "device": torch.device("cpu"), "dummy": True}
    one, same, other = (load_model(folder, **how, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.embed_tokens.weight, same.embed_tokens.weight)
    assert not torch.equal(one.embed_tokens.weight, other.embed_tokens.weight)
    assert len(load_model(folder, **how, override={"num_hidden_layers": 1}).layers) == 1
