"""Writes a GGUF file with the shapes of a published model and random blocks: its speed and memory are those of the model.

The tokenizer is a real one, with names for the ids that it lacks. What the model answers is no text.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from workbench.hub.disk import MB
from workbench.hub.find import resolve

SHAPES: dict[str, dict[str, Any]] = {
    "8b": {
        "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
    },
    "small": {
        "vocab_size": 50_000, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 2048,
    },
}  # fmt: skip
"""Settings of Llama 3.1 8B without the scaling of its rotary embedding, and of a small model for tests."""
TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")


def add_args(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shape", choices=list(SHAPES), default="8b", help="sizes of the model (default: 8b)")
    parser.add_argument("--type", choices=TYPES, default="Q4_K", help="format of all matrices; the head of a K type has Q6_K")
    parser.add_argument("--output", required=True, help="file to write")
    parser.add_argument("--tokenizer", default="smollm2-135m", help="model whose tokenizer is used (default: smollm2-135m)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (default: 0)")


def run(args: argparse.Namespace) -> int:
    from workbench.bench.random_model import write_random  # with torch

    tokenizer = resolve(args.tokenizer).path
    num_bytes = write_random(Path(args.output), SHAPES[args.shape], args.type, tokenizer, args.seed)
    print(f"wrote {args.output}, {num_bytes / MB:,.0f} MB")
    return 0
