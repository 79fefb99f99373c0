"""Settings of a configuration or a checkpoint are computed as transformers computes them, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import logits_of, open_runner, planned, stored

from workbench.errors import ModelUnsupported
from workbench.model.config import Activation
from workbench.model.layers import ACTIVATIONS as COMPUTED
from workbench.model.tiny import TINY_GEMMA3, TINY_LLAMA
from workbench.types import Segment

ACTIVATIONS = set(get_args(Activation))
TOKENS = torch.randint(0, 256, (120,), generator=torch.Generator().manual_seed(1)).tolist()
YARN: dict[str, Any] = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64}
GEMMA_ROPES = {"full_attention": {"rope_type": "linear", "factor": 8.0}, "sliding_attention": {"rope_theta": 500.0}}


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def differs(folder: Path) -> float:
    """Returns the largest distance between our logits and those of transformers for the same folder."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = model(torch.tensor([TOKENS])).logits[0]
    got = logits_of(open_runner(folder, "torch"), planned(1, TOKENS, 0, 120, [Segment(0, tuple(range(120)))]))
    return float((got - expected).abs().max())


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("config, key", [(TINY_LLAMA, "hidden_act"), (TINY_GEMMA3, "hidden_activation")], ids=["llama", "gemma3"])
def test_every_activation_equals_that_of_transformers(tmp_path: Path, config: dict[str, Any], key: str, name: str):
    assert set(COMPUTED) == ACTIVATIONS
    assert differs(stored(tmp_path, config | {key: name})) < 1e-4


SETTINGS = {
    "yarn": TINY_LLAMA | {"rope_scaling": YARN},
    "yarn, older name": TINY_LLAMA | {"rope_scaling": {**without(YARN, "rope_type"), "type": "yarn", "finetuned": True}},
    "yarn with its own factor": TINY_LLAMA | {"rope_scaling": YARN | {"attention_factor": 0.7}},
    "yarn with scales": TINY_LLAMA | {"rope_scaling": YARN | {"mscale": 0.7, "mscale_all_dim": 0.4}},
    "yarn, a narrow ramp, not cut": TINY_LLAMA | {"rope_scaling": YARN | {"beta_fast": 4, "beta_slow": 2, "truncate": False}},
    "rope_scaling in place of rope_parameters": TINY_LLAMA
    | {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_type": "default", "rope_theta": 300.0}},
    "llama 3 without its trained length": TINY_LLAMA
    | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}},
    "llama as transformers supposes it": without(
        TINY_LLAMA, "rope_theta", "hidden_act", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings", "head_dim",
        "num_key_value_heads",
    ),
    "gemma 3 as transformers supposes it": without(
        TINY_GEMMA3, "rope_theta", "rope_local_base_freq", "hidden_activation", "rms_norm_eps", "max_position_embeddings",
        "tie_word_embeddings", "query_pre_attn_scalar", "layer_types", "sliding_window", "head_dim",
    ) | {"num_hidden_layers": 7},
    "gemma 3 with a cap": TINY_GEMMA3 | {"final_logit_softcapping": 3.0},
    "gemma 3 with biases": TINY_GEMMA3 | {"attention_bias": True, "query_pre_attn_scalar": 20},
    "gemma 3 with linear rope": TINY_GEMMA3 | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    "gemma 3 with ropes by layer": without(TINY_GEMMA3, "rope_theta", "rope_local_base_freq") | {"rope_parameters": GEMMA_ROPES},
    "gemma 3 by an older pattern": without(TINY_GEMMA3, "layer_types") | {"sliding_window_pattern": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_equals_that_of_transformers(tmp_path: Path, name: str):
    """Reads the test's own file: the one that transformers saves leaves nothing out."""
    folder = stored(tmp_path, SETTINGS[name])
    (folder / "config.json").write_text(json.dumps(SETTINGS[name]))
    assert differs(folder) < 1e-4


def test_what_is_attended_in_both_directions_is_refused(tmp_path: Path):
    folder = stored(tmp_path, TINY_GEMMA3 | {"use_bidirectional_attention": True})
    with pytest.raises(ModelUnsupported, match="use_bidirectional_attention = True, which Gemma 3") as caught:
        open_runner(folder, "torch")
    assert caught.value.hint.endswith("""json_model_override_args='{"use_bidirectional_attention": null}'""")


@pytest.mark.parametrize("config", [TINY_LLAMA, TINY_GEMMA3], ids=["llama", "gemma3"])
@pytest.mark.parametrize("case", ["another head", "the same head", "a head alone"])
def test_a_head_in_the_file_of_a_tied_model_counts_as_in_transformers(tmp_path: Path, config, case: str, caplog):
    file = stored(tmp_path, config) / "model.safetensors"
    tensors = load_file(file)
    embedding = tensors["model.embed_tokens.weight"]
    tensors["lm_head.weight"] = embedding.flip(0).contiguous() if case == "another head" else embedding.clone()
    if case == "a head alone":
        del tensors["model.embed_tokens.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    assert differs(tmp_path) < 1e-4
    assert ("a head of its own" in caplog.text) == (case == "another head")
