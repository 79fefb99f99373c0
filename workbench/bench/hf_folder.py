"""A GGUF file written out as a folder in Hugging Face layout, for systems that read nothing else. Weights become float32."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from workbench.checkpoint.base import Blocks
from workbench.checkpoint.sources import Shape, StoredSource
from workbench.checkpoint.weights import Weights
from workbench.model.check import check_model, end_ids, read_values
from workbench.model.load import open_checkpoint
from workbench.text.tokenizer import load_tokenizer

DONE = "config.json"
"""The file that is written last."""


def write_hf_folder(path: Path, folder: Path) -> Path:
    """Returns `folder`, with the model and the tokenizer of the GGUF file at `path`. Does nothing when it has them."""
    if (folder / DONE).is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors_of(path), folder / "model.safetensors", metadata={"format": "pt"})
    load_tokenizer(path).hf.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": sorted(end_ids(path))}))
    (folder / DONE).write_text(json.dumps(read_values(path) | {"dtype": "float32"}))
    return folder


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Returns all tensors of a folder or GGUF file as the layers read them, dense, under their names in safetensors files."""
    checked = check_model(path)
    opened, names = open_checkpoint(path, checked)
    with opened as checkpoint:
        source = _Keeping(StoredSource(checkpoint, names))
        checked.family.model(checked.config).load(Weights(source, torch.float32, torch.device("cpu")))
    return {name if name.startswith("lm_head.") else f"model.{name}": value for name, value in source.kept.items()}


class _Keeping:
    """A source that keeps what it gives."""

    def __init__(self, source: StoredSource) -> None:
        self._source = source
        self.kept: dict[str, Tensor] = {}

    def has(self, name: str) -> bool:
        return self._source.has(name)

    def read(self, name: str, shape: Shape, rows: slice | None, neutral: float | None) -> Tensor:
        value = self._source.read(name, shape, rows, neutral)
        self.kept[name] = (value.dense() if isinstance(value, Blocks) else value).float().clone()
        return self.kept[name]
