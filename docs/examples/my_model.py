"""A model of one's own: Llama's form with scaled embeddings. `python my_model.py --model-path FOLDER` serves it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.attention.base import StepContext
from workbench.config import ServerArgs
from workbench.model.base import CausalLM
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, ModelConfig
from workbench.model.layers import RMSNorm
from workbench.model.rope import Rope
from workbench.model.rotary import Rotary
from workbench.srt.entrypoints.http_server import launch_server
from workbench.srt.models.registry import ModelRegistry


@dataclass(frozen=True, kw_only=True)
class MyConfig(ModelConfig):
    """The keys of config.json that are read, beside those of every model. Any other key is refused unless it changes nothing."""

    hidden_act: Activation = "silu"
    embedding_scale: float = 1.0


class MyForCausalLM(CausalLM):
    """Its parts have the names of the tensors in the file: `layers.0.self_attn.q_proj.weight`, below `model.` or not."""

    def __init__(self, config: MyConfig) -> None:
        def block(layer: int) -> Block:
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
            return Block(config, Attention(config, layer, qkv_bias=config.attention_bias), mlp)

        super().__init__(config, map(block, range(config.num_hidden_layers)), RMSNorm(config.hidden_size, config.rms_norm_eps))
        self.rope, self.head_dim = Rope.make(config.rope_theta, config.rope_scaling or config.rope_parameters), config.head_dim
        self.embedding_scale = config.embedding_scale

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        self.rotary = Rotary(self.head_dim, self.rope, self.max_positions, dtype=dtype, device=device)

    def scaled(self, x: Tensor) -> Tensor:
        return x * self.embedding_scale

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        x = self.embed(token_ids, ctx)
        turn = self.rotary.at(ctx.positions)
        for layer in self.layers:
            x = layer(x, turn, ctx)
        return self.norm(x)


ModelRegistry.models["MyForCausalLM"] = MyForCausalLM

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    launch_server(ServerArgs.from_cli_args(parser.parse_args()))
