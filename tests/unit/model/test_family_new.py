"""A family is one file and one entry: here a made-up one of shared parts, which is Llama in other words.

Its configuration has words of its own and puts some into an object; its files are several and fuse queries, keys and values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tiny_models import logits_of, planned, runner_of
from torch import Tensor

from workbench.checkpoint.names import Cut, one_after_the_other
from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.model import registry
from workbench.model.base import CausalLM
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import Family
from workbench.model.load import load_model
from workbench.model.registry import Entry
from workbench.model.tiny import write_config
from workbench.types import Segment

# The family's file.


@dataclass(frozen=True, kw_only=True)
class PicoConfig(ModelConfig):
    words: ClassVar[Mapping[str, str]] = {"width": "hidden_size", "mlp.width": "intermediate_size", "mlp.kind": "hidden_act"}

    hidden_act: Activation = "silu"


class PicoForCausalLM(Decoder):
    def __init__(self, config: PicoConfig) -> None:
        def block(layer: int) -> Block:
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
            return Block(config, Attention(config, layer), mlp)

        super().__init__(config, block, ropes=config.rope())


def cuts(config: PicoConfig) -> Mapping[str, Cut]:
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    parts = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
    return one_after_the_other("layers.*.mix.qkv", {f"layers.*.self_attn.{part}": rows for part, rows in parts.items()})


FAMILY = Family(config=PicoConfig, model=PicoForCausalLM, cuts=cuts, names={"layers.*.self_attn.o_proj": "layers.*.mix.out"})

# The entry, and what it is tested with.

ENTRY = Entry("PicoForCausalLM", "Pico", "pico", "", "none in the world", __name__)
SIZES: dict[str, Any] = {
    "vocab_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "rope_theta": 10000.0, "eos_token_id": 0,
}  # fmt: skip
TINY: dict[str, Any] = SIZES | {
    "architectures": ["PicoForCausalLM"], "model_type": "pico", "width": 32, "mlp": {"width": 64, "kind": "silu", "drop": None},
}  # fmt: skip
TOKENS = torch.randint(0, 256, (60,), generator=torch.Generator().manual_seed(1)).tolist()
HOW: dict[str, Any] = {"dtype": torch.float32, "device": torch.device("cpu")}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.FAMILIES, ENTRY.architecture, ENTRY)


@pytest.fixture(scope="module")
def theirs() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES, hidden_size=32, intermediate_size=64, hidden_act="silu")
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.fixture(scope="module")
def folder(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of transformers in words of the family, in two files."""
    tensors = theirs.state_dict()
    del tensors["lm_head.weight"]
    for layer in range(3):
        own = f"model.layers.{layer}"
        parts = [tensors.pop(f"{own}.self_attn.{part}_proj.weight") for part in "qkv"]
        tensors[f"{own}.mix.qkv.weight"] = torch.cat(parts)
        tensors[f"{own}.mix.out.weight"] = tensors.pop(f"{own}.self_attn.o_proj.weight")
    path = write_config(tmp_path_factory.mktemp("pico"), TINY)
    names = sorted(tensors)
    for number, half in enumerate((names[::2], names[1::2])):
        save_file({name: tensors[name] for name in half}, path / f"model-{number}.safetensors")
    where = {name: f"model-{number}.safetensors" for number in (0, 1) for name in names[number::2]}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return path


def logits(model: CausalLM) -> Tensor:
    return logits_of(runner_of(model, "torch"), planned(1, TOKENS, 0, 60, [Segment(0, tuple(range(60)))]))


def test_its_logits_equal_those_of_transformers(folder: Path, theirs: Any):
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
    with pytest.raises(ModelUnsupported, match=r"config\.json has rope_interleaved = True, which Pico does not compute"):
        load_model(folder, **HOW, override={"rope_interleaved": True})
    with pytest.raises(ModelCorrupt, match=r"lacks 9 tensors, layers\.3\.input_layernorm\.weight first"):
        load_model(folder, **HOW, override={"num_hidden_layers": 4})
    with pytest.raises(ModelUnsupported, match=r"has 7 tensors, model\.layers\.2\..* which Pico does not read"):
        load_model(folder, **HOW, override={"num_hidden_layers": 2})
    with pytest.raises(ModelCorrupt, match=r"the file has model\.layers\.0\.mix\.qkv\.weight \[64, 32\], .* wants \[48, 32\]"):
        load_model(folder, **HOW, override={"num_key_value_heads": 1})


WRONG = [
    ({"width": "wide"}, ModelCorrupt, r"has width = 'wide', it must be a whole number"),
    ({"width": None}, ModelCorrupt, r"has no 'width'"),
    ({"mlp": {"width": 64, "kind": "cubic"}}, ModelUnsupported, r"has mlp\.kind = 'cubic', which Pico does not compute"),
    ({"mlp": {"width": 64, "depth": 3}}, ModelUnsupported, r"has mlp\.depth = 3, which Pico does not compute"),
    ({"hidden_size": 48}, ModelCorrupt, r"has width = 32 and hidden_size = 48: which is it"),
]


@pytest.mark.parametrize("changes, error, message", WRONG, ids=[next(iter(case[0])) + str(i) for i, case in enumerate(WRONG)])
def test_messages_name_the_key_as_stored(tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        load_model(write_config(tmp_path, TINY | changes), **HOW, dummy=True)


def test_it_is_listed_without_its_file_being_imported():
    assert ("Pico", "PicoForCausalLM", "–", "none in the world") in registry.families_table()
