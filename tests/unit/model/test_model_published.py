"""Configurations as published models have them are read, and so are all tensors under the names of their files.

`published_configs.jsonl` has one configuration a line. A line of `published_names.jsonl` has one of few layers, and the names:
"*" stands for the number of a layer, "#" for that of an expert, and "{a,b}" for either.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.checkpoint.names import Names
from workbench.checkpoint.weights import Weights
from workbench.model.check import check_config

DATA = Path(__file__).parents[2] / "data"
NUM_LAYERS = 2


def lines(name: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in map(json.loads, (DATA / name).read_text().splitlines())}


CONFIGS, FILES = lines("published_configs.jsonl"), lines("published_names.jsonl")


def spelled(pattern: str, num_experts: int) -> list[str]:
    """Returns the names that a pattern stands for."""
    parts = re.split(r"(\{[^{}]*\}|\*|#)", pattern)
    numbers = {"*": map(str, range(NUM_LAYERS)), "#": map(str, range(num_experts))}
    choices = [part[1:-1].split(",") if part[:1] == "{" else [*numbers[part]] if part in numbers else [part] for part in parts]
    return ["".join(made) for made in itertools.product(*choices)]


class Listed:
    """A source that has tensors of the given names, and notes which are requested."""

    def __init__(self, names: Names, stored: set[str]) -> None:
        self.missing: list[str] = []
        self.unread = {name for name in stored if not names.is_leftover(name)}
        self._names, self._stored = names, stored

    def has(self, name: str) -> bool:
        return self._names.find(name, self._stored) is not None

    def read(self, name: str, shape: tuple[int, ...], rows: slice | None, neutral: float | None) -> torch.Tensor:
        found = self._names.find(name, self._stored)
        if found is None:
            self.missing.append(name)
        else:
            self.unread.discard(found)
        return torch.empty(0, *shape[1:])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_published_config_is_read(name: str):
    config = CONFIGS[name]["config"]
    assert check_config(config).entry.architecture == config["architectures"][0]


@pytest.mark.parametrize("name", FILES)
def test_all_tensors_of_a_published_file_are_read(name: str):
    checked = check_config(FILES[name]["config"])
    stored = {one for pattern in FILES[name]["tensors"].split() for one in spelled(pattern, FILES[name]["experts"])}
    listed = Listed(checked.family.safetensors_names(checked.config), stored)
    checked.family.model(checked.config).load(Weights(listed, torch.float32, torch.device("cpu")))
    assert (listed.missing, sorted(listed.unread)) == ([], [])


def test_a_command_model_has_the_positions_it_was_trained_for():
    checked = check_config(CONFIGS["command-r"]["config"])
    assert checked.family.model(checked.config).max_positions == 131_072
    assert checked.config.settled().max_position_embeddings == 131_072
