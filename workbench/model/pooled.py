"""Any decoder without its head, and with a classification head in the place of it: for embeddings, scores and rewards."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import make_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from workbench.attention.base import StepContext
from workbench.checkpoint.pooling import Pooling
from workbench.checkpoint.weights import Weights
from workbench.model.base import CausalLM, Model
from workbench.model.config import Labels
from workbench.model.family import Family
from workbench.model.layer import load_parts
from workbench.model.linear import Linear


class Headless(Model):
    """A decoder whose hidden states are the result, as embedding models are saved."""

    def __init__(self, decoder: CausalLM) -> None:
        super().__init__(decoder.config)
        del decoder.lm_head
        self.decoder = decoder
        self.is_encoder = decoder.is_encoder

    def load(self, weights: Weights) -> None:
        load_parts(self.decoder, weights)

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        self.decoder.num_positions = self.num_positions
        self.decoder.build_tables(dtype, device)

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        hidden: Tensor = self.decoder(token_ids, ctx)
        return hidden


class Classifier(Headless):
    """A decoder with scores of each text's last token: a classifier, or a reward model."""

    pooling = Pooling("last", normalise=False)

    def __init__(self, decoder: CausalLM, num_labels: int) -> None:
        super().__init__(decoder)
        self.num_labels = num_labels
        self.score = Linear(decoder.hidden_size, num_labels, is_head=True)

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.score.load(weights.at("score"))

    def scores(self, pooled: Tensor) -> Tensor:  # [N, H] -> [N, labels]
        return self.score(pooled)


def headless(family: Family[Any]) -> Family[Any]:
    """Returns the family of the same decoders without a head. A head that a file has is left."""
    head = re.escape(family.names.get("lm_head", "lm_head"))
    leftovers = rf"{family.leftovers}|^{head}\."
    return replace(family, model=lambda config: Headless(_decoder(family, config)), leftovers=leftovers, gguf=None)


def classifier(family: Family[Any]) -> Family[Any]:
    """Returns the family of the same decoders with a classification head, as transformers saves them."""
    config: Any = make_dataclass(family.config.__name__, (), bases=(Labels, family.config), frozen=True, kw_only=True)
    return replace(
        family, config=config, model=lambda config: Classifier(_decoder(family, config), config.label_count), gguf=None
    )


def reward(family: Family[Any]) -> Family[Any]:
    """Returns the family of the same decoders with one score, whose matrix is called `v_head`."""
    names = {**family.names, "score": "v_head"}
    return replace(family, model=lambda config: Classifier(_decoder(family, config), 1), names=names, gguf=None)


def _decoder(family: Family[Any], config: Any) -> CausalLM:
    made = family.model(config)
    assert isinstance(made, CausalLM), made
    return made


FORMS: dict[str, Callable[[Family[Any]], Family[Any]]] = {"headless": headless, "classifier": classifier, "reward": reward}
"""The forms in which a registry entry can have a family that makes text."""
