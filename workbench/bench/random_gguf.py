"""Writes a GGUF file with the shapes of a published model and random blocks: its speed and memory are those of the model.

The tokenizer is a real one, with names for the ids that it lacks. What the model answers is no text.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from gguf import GGML_QUANT_VERSION
from gguf import GGMLQuantizationType as Kind
from torch import Tensor

from workbench.bench.random_blocks import random_blocks
from workbench.checkpoint.base import Blocks, Stored
from workbench.checkpoint.dequantise import BY_NAME
from workbench.checkpoint.sources import DUMMY_STD, Shape, Survey
from workbench.hub.disk import MB
from workbench.hub.find import resolve
from workbench.hub.progress import Bars
from workbench.model.llama import FAMILY, LlamaConfig
from workbench.quantize.sources import SourceTensor, shapes_of, typed
from workbench.quantize.write import write_gguf
from workbench.text.gguf_vocabulary import tokenizer_meta
from workbench.text.tokenizer import load_tokenizer

SHAPES = {
    "8b": LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, max_position_embeddings=131_072, rms_norm_eps=1e-5, rope_theta=500_000.0,
    ),
    "small": LlamaConfig(
        vocab_size=50_000, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=2048,
    ),
}  # fmt: skip
"""Llama 3.1 8B without the scaling of its rotary embedding, and a small model for tests."""
TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")


class NoTensors:
    """A checkpoint without tensors, for a list of what the layers would read."""

    tensors: Mapping[str, Stored] = {}

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str, rows: slice | None = None) -> Tensor | Blocks:
        raise AssertionError(name)

    def __enter__(self) -> NoTensors:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def add_args(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shape", choices=list(SHAPES), default="8b", help="sizes of the model (default: 8b)")
    parser.add_argument("--type", choices=TYPES, default="Q4_K", help="format of all matrices; the head of a K type has Q6_K")
    parser.add_argument("--output", required=True, help="file to write")
    parser.add_argument("--tokenizer", default="smollm2-135m", help="model whose tokenizer is used (default: smollm2-135m)")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    tokenizer = resolve(args.tokenizer).path
    num_bytes = write_random(Path(args.output), SHAPES[args.shape], args.type, tokenizer, args.seed)
    print(f"wrote {args.output}, {num_bytes / MB:,.0f} MB")
    return 0


def write_random(output: Path, config: LlamaConfig, type_name: str, tokenizer: Path, seed: int = 0) -> int:
    """Writes the file and returns its bytes. A tensor depends on the seed, its name and its shape alone."""
    rules, names = FAMILY.gguf, FAMILY.gguf_names(config)
    assert rules is not None
    assert rules.meta is not None
    values = {"general.type": "model", "general.name": output.stem, "general.quantization_version": GGML_QUANT_VERSION}
    values |= {f"llama.{key}": value for key, value in rules.meta(config).items()}
    meta = typed(values | tokenizer_meta(load_tokenizer(tokenizer), config.vocab_size))
    shapes = shapes_of(FAMILY.model(config), Survey(NoTensors(output), names))
    stds = {kind: _std(kind) for kind in {type_name, "Q6_K"}}
    tensors = []
    for name, shape in ((names.renamed(name), shape) for name, shape in shapes.items()):
        if len(shape) == 1:
            tensors.append((SourceTensor(name, shape, partial(torch.ones, shape)), Kind.F32))
            continue
        kind = "Q6_K" if name == "output.weight" and type_name.endswith("_K") else type_name
        read = partial(_matrix, kind, shape, zlib.crc32(name.encode(), seed), DUMMY_STD / stds[kind])
        tensors.append((SourceTensor(name, shape, read), Kind[kind]))
    bars = Bars()
    try:
        return write_gguf(output, "llama", meta, tensors, lambda path: None, bars)
    finally:
        bars.close()


def _matrix(kind: str, shape: Shape, seed: int, size: float) -> Blocks:
    return random_blocks(kind, shape[0], shape[1], seed, size)


def _std(kind: str) -> float:
    """Returns the standard deviation of the numbers of random blocks with scales of about 1."""
    return float(random_blocks(kind, 256, BY_NAME[kind].block_len, size=1.0).dense().std())
