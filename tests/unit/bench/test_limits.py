"""The shares of the machine's limits are those of a product that is timed beside, and of bytes that are counted apart."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_weights import write_checkpoint

from workbench.bench.limits import Limits, linear_layers
from workbench.config import ServerArgs
from workbench.model.load import load_model


def test_a_token_takes_every_matrix_but_the_head_once(tmp_path: Path):
    folder = write_checkpoint(tmp_path / "model")
    model = load_model(folder, dtype=torch.float32, device=torch.device("cpu"))
    limits = Limits.of(
        ServerArgs.make(model_path=str(folder), device="cpu", dtype="float32", max_total_tokens=600, skip_tokenizer_init=True)
    )
    config = model.config
    attended, shared = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    in_attention = config.hidden_size * (2 * attended + 2 * shared)
    in_mlp = 3 * config.hidden_size * config.intermediate_size
    assert limits.operations_per_token == 2 * config.num_hidden_layers * (in_attention + in_mlp)
    assert limits.bytes_per_token == model.decode_bytes()
    assert len(linear_layers(model)) == 4 * config.num_hidden_layers
    assert min(limits.bytes_per_s, limits.operations_per_s) > 0


def test_shares_are_of_what_the_machine_does():
    limits = Limits(bytes_per_token=10**8, bytes_per_s=4e10, operations_per_token=2 * 10**8, operations_per_s=8e11)
    stream, prefill = limits.table(100, 2000).splitlines()[2:]
    assert stream == "| 1 stream: reading of weights | 100 | 0.100 GB | 10 GB/s | 40 GB/s | 25% |"
    assert prefill == "| prefill: products | 2,000 | 0.200 Gop | 400 Gop/s | 800 Gop/s | 50% |"
