"""A file of random blocks is a model that runs: of the shape that was asked for, and with logits of a usual size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import logits_of, planned, runner_of
from tiny_tokenizers import KINDS, wrap

from workbench.bench.hf_folder import tensors_of
from workbench.bench.random_gguf import SHAPES, TYPES
from workbench.bench.random_model import write_random
from workbench.checkpoint.gguf_file import GgufFile
from workbench.model.check import check_model
from workbench.model.families.llama import LlamaConfig
from workbench.model.load import load_model
from workbench.types import Segment

SETTINGS = SHAPES["small"] | {"vocab_size": 1000}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    wrap(KINDS["byte level"]()).hf.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", TYPES)
def test_it_computes_logits_of_a_usual_size(tmp_path: Path, tokenizer: Path, kind: str):
    path = tmp_path / "random.gguf"
    assert write_random(path, SETTINGS, kind, tokenizer) == path.stat().st_size
    assert check_model(path).config.settled() == LlamaConfig(**SETTINGS).settled()
    model = load_model(path, dtype=torch.float32, device=torch.device("cpu"))
    assert float(tensors_of(path)["model.layers.1.mlp.down_proj.weight"].std()) == pytest.approx(0.02, rel=0.1)
    logits = logits_of(runner_of(model, "torch"), planned(1, list(range(20)), 0, 20, [Segment(0, tuple(range(20)))]))
    assert logits.isfinite().all()
    assert 0.1 < float(logits.std()) < 3
    head = GgufFile(path).tensors["output.weight"].type.name
    assert head == ("Q6_K" if kind.endswith("_K") else kind)


def test_it_depends_on_the_seed_alone(tmp_path: Path, tokenizer: Path):
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        write_random(file, SETTINGS, "Q4_K", tokenizer, seed)
    first, again, other = (GgufFile(file) for file in files)
    assert first.tensors.keys() == again.tensors.keys() == other.tensors.keys()
    start = first.tensors["token_embd.weight"].start
    assert files[0].read_bytes()[start:] == files[1].read_bytes()[start:] != files[2].read_bytes()[start:]


def test_the_8b_shape_has_the_parameters_of_llama_3_1():
    config = LlamaConfig(**SHAPES["8b"])
    per_layer = config.hidden_size * (2 * config.hidden_size + 2 * config.num_key_value_heads * config.head_dim)
    per_layer += 3 * config.hidden_size * config.intermediate_size + 2 * config.hidden_size
    total = config.num_hidden_layers * per_layer + 2 * config.vocab_size * config.hidden_size + config.hidden_size
    assert total == 8_030_261_248
