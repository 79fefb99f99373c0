"""Quantised folders under the names of published ones, with fused and renamed matrices, are the models of their numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from quantised_folders import FORMATS, Maker
from safetensors.torch import save_file
from tiny_models import logits_of, planned, runner_of

from workbench.checkpoint.names import Names
from workbench.checkpoint.weights import DENSE, WeightForm, Weights
from workbench.kernels import products
from workbench.model.check import check_config
from workbench.model.load import load_model
from workbench.types import Segment

CPU = torch.device("cpu")
CONFIGS = {
    one["name"]: one["config"]
    for one in map(json.loads, (Path(__file__).parents[1] / "data/published_names.jsonl").read_text().splitlines())
}
SIZES = {"hidden_size": 256, "intermediate_size": 384, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96,
         "head_dim": 64, "num_hidden_layers": 2, "max_position_embeddings": 256}  # fmt: skip
MEGATRON = {"hidden_size": 256, "ffn_hidden_size": 384, "num_attention_heads": 4, "padded_vocab_size": 96, "kv_channels": 64,
            "num_layers": 2, "num_hidden_layers": 2, "seq_length": 256}  # fmt: skip
LATENT = {"q_lora_rank": 128, "kv_lora_rank": 128, "qk_nope_head_dim": 64, "qk_rope_head_dim": 64, "v_head_dim": 64,
          "num_key_value_heads": 4, "moe_intermediate_size": 128}  # fmt: skip
SMALL: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "phi3": (SIZES, ("awq", "fp8-channel")),
    "qwen1": (SIZES | {"kv_channels": 64, "intermediate_size": 768, "seq_length": 256, "num_key_value_heads": None},
              ("gptq-4-desc-act",)),
    "internlm2": (SIZES, ("nf4",)),
    "baichuan2": (SIZES | {"model_max_length": 256, "num_key_value_heads": 4}, ("gptq-4",)),
    "glm-4-9b": (MEGATRON, ("fp8-block",)),
    "glm": (SIZES, ("pack-4",)),
    "phi3small": ({"hidden_size": 256, "ff_intermediate_size": 384, "num_attention_heads": 4, "num_key_value_heads": 2,
                   "vocab_size": 96, "num_hidden_layers": 2}, ("awq",)),
    "cohere": (SIZES, ("w8a8-int8",)),
    "minicpm": (SIZES | {"num_key_value_heads": 4}, ("gptq-4",)),
    "mixtral": (SIZES, ("gptq-4",)),
    "qwen2moe": (SIZES | {"moe_intermediate_size": 128, "shared_expert_intermediate_size": 256}, ("gptq-4",)),
    "deepseek2": (SIZES | LATENT, ("fp8-block",)),
    "exaone": (SIZES | {"num_layers": 2}, ("awq",)),
}  # fmt: skip
TEXT = SIZES | {"rope_theta": 10_000.0}
VISION = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "image_size": 28, "patch_size": 14}
SEEING: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "qwen2vl": (SIZES | {"rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
                         "vision_config": {"depth": 2, "embed_dim": 64, "mlp_ratio": 2, "num_heads": 4, "hidden_size": 256}},
                ("awq",)),
    "llava old": ({"text_config": TEXT, "vision_config": VISION}, ("gptq-4",)),
    "gemma3v old": ({"text_config": TEXT, "vision_config": VISION, "mm_tokens_per_image": 4}, ("pack-4",)),
    "minicpmv26": (SIZES | {"vision_config": VISION}, ("nf4",)),
    "mistral3": ({"text_config": TEXT, "vision_config": VISION | {"head_dim": 16}}, ("fp8-channel",)),
}  # fmt: skip
"""Models that see, whose towers the tools leave dense."""
LEFT_ALONE = re.compile(
    r"vision|visual|vpm|resampler|projector|embed|wte|lm_head|output(_layer)?\.weight$|\.gate\.weight|norm|shared_expert_gate"
)
"""Matrices that the tools leave dense."""


class Whole:
    """A source that draws what a file would hold: whole matrices under the file's names."""

    def __init__(self, names: Names) -> None:
        self.stored: dict[str, torch.Tensor] = {}
        self._names, self._rng = names, torch.Generator().manual_seed(0)

    def has(self, name: str) -> bool:
        return False

    def read(self, name: str, shape: tuple[int, ...], rows: slice | None, neutral: float | None) -> torch.Tensor:
        full, cut = f"{self._names.prefixes[0]}{self._names.renamed(name)}", self._names.cut_of(name)
        whole = shape if cut is None else cut.whole(shape)
        if full not in self.stored:
            self.stored[full] = torch.randn(whole, generator=self._rng) * 0.05 + (neutral or 0)
        assert self.stored[full].shape == whole
        return torch.empty(0, *shape[1:])


def smaller(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Returns a config with the sizes of `values`, where it has the keys, also in objects of it."""
    found = dict(config)
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            found[key] = config[key] | value
        elif value is None or key in config:
            found[key] = value
    return found


def write_both(folder: Path, name: str, form: str) -> tuple[Path, Path]:
    """Writes a published model of small sizes twice: quantised in this format, and with the same numbers in float32."""
    config = smaller(CONFIGS[name], (SMALL | SEEING)[name][0])
    checked, (settings, make) = check_config(config), FORMATS[form]
    source = Whole(checked.family.safetensors_names(checked.config))
    checked.family.model(checked.config).load(Weights(source, torch.float32, CPU))
    maker, stored, dense, count = Maker(), {}, {}, 0
    for full, value in source.stored.items():
        dense[full] = stored[full] = value
        if value.dim() == 2 and value.shape[1] % 128 == 0 and not LEFT_ALONE.search(full):
            parts, numbers = make(maker, *value.shape)
            del stored[full]
            stored |= {f"{full.removesuffix('.weight')}.{leaf}": part.clone() for leaf, part in parts.items()}
            dense[full], count = numbers.contiguous(), count + 1
    assert count > 4
    for place, values, more in (("quantised", stored, {"quantization_config": settings}), ("dense", dense, {})):
        (folder / place).mkdir()
        (folder / place / "config.json").write_text(json.dumps(config | more))
        save_file(values, folder / place / "model.safetensors")
    return folder / "quantised", folder / "dense"


def logits(folder: Path, form: WeightForm) -> torch.Tensor:
    model = load_model(folder, dtype=torch.float32, device=CPU, form=form, num_positions=64)
    assert model.has_blocks() == (form is not DENSE and folder.name == "quantised")
    tokens = torch.randint(0, 96, (20,), generator=torch.Generator().manual_seed(1)).tolist()
    return logits_of(runner_of(model, "torch"), planned(1, tokens, 0, 20, [Segment(0, tuple(range(20)))]))


@pytest.mark.heavy
@pytest.mark.parametrize("name, form", [(name, form) for name, (_, forms) in (SMALL | SEEING).items() for form in forms])
def test_a_quantised_folder(name: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(products, "library", lambda: None)
    quantised, dense = write_both(tmp_path, name, form)
    wanted = logits(dense, DENSE)
    for kept in (DENSE, WeightForm(products.FORMATS)):
        torch.testing.assert_close(logits(quantised, kept), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
