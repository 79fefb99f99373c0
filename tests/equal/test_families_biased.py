"""Families whose attention depends on the distance of two tokens: Baichuan 13B by slopes, Phi-3-small by blocks.

The oracle of the first is Llama of transformers with all tokens at position 0 and the slopes in its mask; that of the second is
written here in plain torch, from the description that Microsoft published with the model.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import family
import gguf_writer
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.model.families import baichuan
from workbench.model.tiny import write_config

SLOPES = (1 / 4, 1 / 16, 1 / 64, 1 / 256)
"""Those of four heads: powers of 2 to the minus 8 over their number."""


class WithSlopes:
    """A Llama of transformers without positions, whose scores fall with the distance."""

    def __init__(self, llama: Any, slopes: tuple[float, ...]) -> None:
        self.llama, self.slopes = llama, torch.tensor(slopes)

    def __call__(self, ids: Tensor, logits_to_keep: int = 0) -> Any:
        places = torch.arange(ids.shape[1])
        distance = places[:, None] - places[None]
        mask = (-self.slopes[:, None, None] * distance).masked_fill(distance < 0, torch.finfo(torch.float32).min)
        return self.llama(
            ids, attention_mask=mask[None], position_ids=torch.zeros_like(ids), logits_to_keep=logits_to_keep, use_cache=False
        )


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(baichuan, "HIDDEN_OF_13B", 64)  # the configuration shows it by nothing else
    return family.made("llama", num_key_value_heads=4, rms_norm_eps=1e-6)


def test_baichuan_13b(tmp_path: Path, llama: Any):
    tensors = llama.state_dict()
    for layer in range(3):
        stem = f"model.layers.{layer}.self_attn"
        tensors[f"{stem}.W_pack.weight"] = torch.cat([tensors.pop(f"{stem}.{part}_proj.weight") for part in "qkv"])
    config = {
        "architectures": ["BaichuanForCausalLM"], "model_type": "baichuan", "hidden_size": 64, "num_attention_heads": 4,
        "num_hidden_layers": 3, "vocab_size": family.VOCAB, "intermediate_size": 96, "rms_norm_eps": 1e-6, "hidden_act": "silu",
        "model_max_length": 512, "z_loss_weight": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    save_file(tensors, write_config(tmp_path, config) / "model.safetensors")
    with torch.no_grad():
        llama.lm_head.weight /= llama.lm_head.weight.norm(dim=1, keepdim=True)
    reference = WithSlopes(llama, SLOPES)
    difference = family.logits(WithSlopes(llama, (0.0,) * 4), family.PROMPTS[3]) - family.logits(reference, family.PROMPTS[3])
    assert difference.abs().max() > 1e-2
    family.hold(tmp_path, reference)


def test_baichuan_13b_in_a_gguf(tmp_path: Path, llama: Any):
    meta = gguf_writer.sizes(llama.config)
    tensors = dict(llama.state_dict())
    path = gguf_writer.write(tmp_path / "m.gguf", "baichuan", meta, tensors, changed=gguf_writer.neighbours(llama.config))
    family.hold(path, WithSlopes(llama, SLOPES))


SMALL: dict[str, Any] = {
    "architectures": ["Phi3SmallForCausalLM"], "model_type": "phi3small", "vocab_size": family.VOCAB, "hidden_size": 64,
    "ff_intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 512, "layer_norm_epsilon": 1e-5, "hidden_act": "gegelu", "gegelu_limit": 1.5,
    "rope_embedding_base": 1000, "rope_position_scale": 1.0, "mup_use_scaling": True, "mup_attn_multiplier": 3.0,
    "mup_embedding_multiplier": 4.0, "mup_width_multiplier": 2.0, "dense_attention_every_n_layers": 2, "ff_dim_multiplier": None,
    "blocksparse_block_size": 4, "blocksparse_num_local_blocks": 2, "blocksparse_vert_stride": 4,
    "blocksparse_homo_head_pattern": False, "blocksparse_triton_kernel_block_size": 64, "gegelu_pad_to_256": True,
    "dummy_token_indices": [5, 300], "attention_dropout_prob": 0.0, "ffn_dropout_prob": 0.1, "embedding_dropout_prob": 0.1,
    "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


class Phi3Small(nn.Module):
    """Phi-3-small in plain torch: each token's mask is written out."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        hidden, inner, size = config["hidden_size"], config["ff_intermediate_size"], 16
        rows = (config["num_attention_heads"] + 2 * config["num_key_value_heads"]) * size
        shapes = {
            "self_attn.query_key_value": (rows, hidden), "self_attn.dense": (hidden, hidden), "mlp.up_proj": (2 * inner, hidden),
            "mlp.down_proj": (hidden, inner), "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,),
        }  # fmt: skip
        named = {"final_layernorm": (hidden,)} | {f"layers.{i}.{name}": shape for i in range(3) for name, shape in shapes.items()}
        rng = torch.Generator().manual_seed(0)
        w = {
            f"model.{name}.weight": torch.randn(shape, generator=rng) * 0.15 + (len(shape) == 1) for name, shape in named.items()
        }
        w |= {f"model.{name}.bias": torch.randn(shape[0], generator=rng) * 0.15 for name, shape in named.items()}
        self.tensors = w | {"model.embed_tokens.weight": torch.randn(family.VOCAB, hidden, generator=rng) * 0.15}

    def forward(self, ids: Tensor, logits_to_keep: int = 0) -> SimpleNamespace:
        table = self.tensors["model.embed_tokens.weight"]
        x = table[ids[0]] * self.config["mup_embedding_multiplier"]
        for layer in range(3):
            x = x + self.attention(self.norm(x, f"layers.{layer}.input_layernorm"), layer)
            both = self.linear(self.norm(x, f"layers.{layer}.post_attention_layernorm"), f"layers.{layer}.mlp.up_proj")
            limit = self.config["gegelu_limit"]
            gate, up = both[:, ::2].clamp(max=limit), both[:, 1::2].clamp(-limit, limit)
            x = x + self.linear(gate * torch.sigmoid(1.702 * gate) * (up + 1), f"layers.{layer}.mlp.down_proj")
        logits = self.norm(x, "final_layernorm") @ table.T / self.config["mup_width_multiplier"]
        logits[:, self.config["dummy_token_indices"]] = torch.finfo(torch.float32).min
        return SimpleNamespace(logits=logits[None, -logits_to_keep:])

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.tensors[f"model.{name}.weight"], self.tensors[f"model.{name}.bias"])

    def norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[1:], self.tensors[f"model.{name}.weight"], self.tensors[f"model.{name}.bias"], 1e-5)

    def attention(self, x: Tensor, layer: int) -> Tensor:
        config, length = self.config, len(x)
        groups = self.linear(x, f"layers.{layer}.self_attn.query_key_value").view(length, 2, 4, 16)  # [T, group, (q, q, k, v), D]
        q, k, v = groups[:, :, :2].flatten(1, 2), groups[:, :, 2], groups[:, :, 3]
        angles = torch.arange(length)[:, None, None] / config["rope_embedding_base"] ** (torch.arange(8) / 8)
        turn = torch.polar(torch.ones_like(angles), angles)

        def turned(y: Tensor) -> Tensor:
            z = torch.complex(y[..., :8].contiguous(), y[..., 8:].contiguous()) * turn
            return torch.cat((z.real, z.imag), -1)

        k, v = turned(k).repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        scale = config["mup_attn_multiplier"] / 16 if config["mup_use_scaling"] else 0.25
        scores = torch.einsum("thd,shd->hts", turned(q), k) * scale
        hidden = torch.ones(4, length, length).triu(1).bool()
        size, stride = config["blocksparse_block_size"], config["blocksparse_vert_stride"]
        if (layer + 1) % config["dense_attention_every_n_layers"]:
            for head in range(4):
                for row in range(length):
                    for column in range(row + 1):
                        back, block = row // size - column // size, column // size
                        is_near = back < config["blocksparse_num_local_blocks"]
                        hidden[head, row, column] = not (is_near or (block + head * (stride // 4) + 1) % stride == 0)
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
        return self.linear(torch.einsum("hts,shd->thd", weights, v).flatten(1), f"layers.{layer}.self_attn.dense")


def test_phi_3_small(tmp_path: Path):
    reference = Phi3Small(SMALL)
    save_file(reference.tensors, write_config(tmp_path, SMALL) / "model.safetensors")
    prompt = family.PROMPTS[3]
    logits = family.logits(reference, prompt)
    others = {
        "gegelu_limit": 9.0, "mup_use_scaling": False, "mup_attn_multiplier": 1.0, "mup_embedding_multiplier": 1.0,
        "mup_width_multiplier": 1.0, "dense_attention_every_n_layers": 1, "blocksparse_num_local_blocks": 3,
        "blocksparse_vert_stride": 8, "rope_embedding_base": 10_000, "dummy_token_indices": [5],
    }  # fmt: skip
    for name, value in others.items():
        reference.config = SMALL | {name: value}
        assert (family.logits(reference, prompt) - logits).abs().max() > 1e-2, name
    reference.config = SMALL
    family.hold(tmp_path, reference)
