"""Writes a model of random blocks, for `workbench bench random-gguf`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gguf import GGML_QUANT_VERSION
from gguf import GGMLQuantizationType as Kind
from torch import Tensor

from workbench.bench.random_blocks import random_blocks
from workbench.checkpoint.base import Blocks, Stored
from workbench.checkpoint.dequantise import BY_NAME
from workbench.checkpoint.sources import DUMMY_STD, Shape, Survey
from workbench.hub.progress import Bars
from workbench.model.families.llama import FAMILY, LlamaConfig
from workbench.quantize.sources import SourceTensor, shapes_of, typed
from workbench.quantize.write import write_gguf
from workbench.text.gguf_vocabulary import tokenizer_meta
from workbench.text.tokenizer import load_tokenizer


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


def write_random(output: Path, settings: Mapping[str, Any], type_name: str, tokenizer: Path, seed: int = 0) -> int:
    """Writes a Llama of these settings and returns its bytes. A tensor depends on the seed, its name and its shape alone."""
    config = LlamaConfig(**settings)
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
            tensors.append((SourceTensor(name, shape, [partial(torch.ones, shape)]), Kind.F32))
            continue
        kind = "Q6_K" if name == "output.weight" and type_name.endswith("_K") else type_name
        read = partial(_matrix, kind, shape, zlib.crc32(name.encode(), seed), DUMMY_STD / stds[kind])
        tensors.append((SourceTensor(name, shape, [read]), Kind[kind]))
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
