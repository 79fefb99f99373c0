"""A family is one file and one entry: here Qwen2, made of shared parts, beside the class that transformers has for it.

Biases of queries, keys and values alone, a sliding window in some layers, and a checkpoint in several files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import logits_of, planned, runner_of
from torch import Tensor

from workbench.attention.base import StepContext
from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.model import gguf, registry
from workbench.model.base import CausalLM
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, LayerKind, ModelConfig
from workbench.model.family import Family, GgufRules
from workbench.model.layers import RMSNorm
from workbench.model.load import load_model
from workbench.model.registry import Entry
from workbench.model.rope import Rope
from workbench.model.rotary import Rotary
from workbench.model.tiny import write_config
from workbench.types import Segment

# The family's file.


@dataclass(frozen=True, kw_only=True)
class Qwen2Config(ModelConfig):
    hidden_act: Activation = "silu"
    sliding_window: int | None = None
    layer_types: list[LayerKind] | None = None

    def window(self, layer: int) -> int | None:
        slides = self.layer_types is not None and self.layer_types[layer] == "sliding_attention"
        return self.sliding_window if slides else None


class Qwen2ForCausalLM(CausalLM):
    def __init__(self, config: Qwen2Config) -> None:
        def block(layer: int) -> Block:
            attention = Attention(config, layer, window=config.window(layer), qkv_bias=True)
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act))

        super().__init__(config, map(block, range(config.num_hidden_layers)), RMSNorm(config.hidden_size, config.rms_norm_eps))
        self.rope, self.head_dim = Rope.make(config.rope_theta, config.rope_scaling or config.rope_parameters), config.head_dim

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        self.rotary = Rotary(self.head_dim, self.rope, self.max_positions, dtype=dtype, device=device)

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:
        x, turn = self.embed_tokens(token_ids), self.rotary.at(ctx.positions)
        for layer in self.layers:
            x = layer(x, turn, ctx)
        return self.norm(x)


FAMILY = Family(
    config=Qwen2Config,
    model=Qwen2ForCausalLM,
    neutral={"use_sliding_window": (True,), "max_window_layers": (1,)},
    gguf=GgufRules(names=gguf.NAMES, keys=gguf.KEYS, values=gguf.values_of),
)

# The entry, and what it is tested with.

ENTRY = Entry("Qwen2ForCausalLM", "Qwen 2", "qwen2", "qwen2", "Qwen 2 and 2.5", __name__)
TINY: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 256, "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "rope_theta": 10000.0, "hidden_act": "silu",
    "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention"], "eos_token_id": 0,
}  # fmt: skip
TOKENS = torch.randint(0, 256, (60,), generator=torch.Generator().manual_seed(1)).tolist()
HOW: dict[str, Any] = {"dtype": torch.float32, "device": torch.device("cpu")}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.FAMILIES, ENTRY.architecture, ENTRY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by transformers, biases too, in several files."""
    path = tmp_path_factory.mktemp("qwen2")
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**TINY))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(path, max_shard_size="20KB")
    (path / "config.json").write_text(json.dumps(TINY))
    assert len(list(path.glob("*.safetensors"))) > 1
    return path


def logits(model: CausalLM) -> Tensor:
    return logits_of(runner_of(model, "torch"), planned(1, TOKENS, 0, 60, [Segment(0, tuple(range(60)))]))


def test_its_logits_equal_those_of_transformers(folder: Path):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = theirs(torch.tensor([TOKENS])).logits[0]
    torch.testing.assert_close(logits(load_model(folder, **HOW)), expected, rtol=1e-4, atol=1e-4)


def test_it_runs_with_random_weights(tmp_path: Path):
    folder = write_config(tmp_path, TINY)
    one, same, other = (logits(load_model(folder, **HOW, dummy=True, seed=seed)) for seed in (1, 1, 2))
    assert one.shape == (60, 256)
    assert torch.isfinite(one).all()
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_it_is_held_to_its_keys_and_tensors(folder: Path):
    with pytest.raises(ModelUnsupported, match=r"config\.json has rope_interleaved = True, which Qwen 2 does not compute"):
        load_model(folder, **HOW, override={"rope_interleaved": True})
    with pytest.raises(ModelCorrupt, match=r"lacks 12 tensors, layers\.3\.input_layernorm\.weight first"):
        load_model(folder, **HOW, override={"num_hidden_layers": 4, "layer_types": None})
    with pytest.raises(ModelUnsupported, match=r"has 12 tensors, model\.layers\.2\..* which Qwen 2 does not read"):
        load_model(folder, **HOW, override={"num_hidden_layers": 2})


def test_it_is_listed_without_its_file_being_imported():
    assert ("Qwen 2", "Qwen2ForCausalLM", "qwen2", "Qwen 2 and 2.5") in registry.families_table()
