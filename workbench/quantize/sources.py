"""A model as a GGUF file will hold it: metadata, and tensors under the names and in the order of the format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader, GGUFValueType
from gguf.gguf_writer import GGUFValue
from torch import Tensor

from workbench.checkpoint.base import Blocks, Checkpoint
from workbench.checkpoint.gguf_file import GgufFile, open_gguf_file
from workbench.checkpoint.gguf_tensors import open_gguf
from workbench.checkpoint.names import Names
from workbench.checkpoint.pooling import gguf_type, read_pooling
from workbench.checkpoint.sources import Shape, StoredSource, Survey, without_ones
from workbench.checkpoint.weights import Weights
from workbench.errors import ModelUnsupported, shown
from workbench.model.base import Model
from workbench.model.check import check_model
from workbench.model.config import ModelConfig
from workbench.model.layer import Gathered, Layer
from workbench.model.load import open_checkpoint
from workbench.text.gguf_vocabulary import first_difference, tokenizer_meta
from workbench.text.tokenizer import Tokenizer, load_tokenizer

OF_THE_FILE = ("GGUF.", "general.architecture", "general.file_type", "general.quant", "general.alignment", "quantize.")
"""Beginnings of keys that belong to the file they are in, not to the model."""


@dataclass(frozen=True)
class SourceTensor:
    name: str
    shape: Shape
    """The sizes in the file; those that are 1 are left out, but for the last one that is left."""
    reads: Sequence[Callable[[], Tensor | Blocks]]
    """Functions that return the rows, in turn: those of a part of a fused tensor, or of one matrix of a stack."""
    is_setting: bool = False
    """True for a small tensor that is read with the metadata, and stands before all others."""


@dataclass(frozen=True)
class Source(AbstractContextManager["Source"]):
    """Closes the model's files at its end."""

    architecture: str
    meta: Mapping[str, GGUFValue]
    tensors: Sequence[SourceTensor]
    quantised: str
    """Formats or method of quantised tensors, in words; empty where there are none."""
    check: Callable[[Path], None]
    """Function that raises ModelUnsupported if the file at a path, which has its head and its settings, is another model."""
    checkpoint: Checkpoint
    notes: Sequence[str] = ()
    """Lines about what the file does not say."""

    def __exit__(self, *error: object) -> None:
        self.checkpoint.__exit__(*error)


def open_source(path: Path, name: str) -> Source:
    """Opens a folder or a GGUF file. `name` is for `general.name` where the files have none.

    Raises as loading the model does, and ModelUnsupported for what the format has no words for.
    """
    return _of_gguf(path) if path.is_file() else _of_folder(path, name)


def _of_gguf(path: Path) -> Source:
    checked, checkpoint = check_model(path), open_gguf(path)
    survey = Survey(checkpoint, checked.family.gguf_names(checked.config))
    shapes_of(checked.family.model(checked.config), survey)
    survey.settle(checked.entry.title)
    reader = GGUFReader(path)
    meta = {}
    for key, field in reader.fields.items():
        if not key.startswith(OF_THE_FILE):
            is_list = field.types[0] == GGUFValueType.ARRAY
            meta[key] = GGUFValue(field.contents(), field.types[0], field.types[-1] if is_list else None)
    tensors = [SourceTensor(name, stored.shape, [partial(checkpoint.read, name)]) for name, stored in checkpoint.tensors.items()]
    quantised = sorted({stored.type for stored in checkpoint.tensors.values() if not stored.is_dense})
    architecture = str(reader.fields["general.architecture"].contents())
    return Source(architecture, meta, tensors, ", ".join(quantised), lambda path: None, checkpoint)


def _of_folder(path: Path, name: str) -> Source:
    checked = check_model(path)
    rules, config = checked.family.gguf, checked.config
    if rules is None or rules.meta is None:
        hint = "workbench models lists those that have"
        raise ModelUnsupported(f"{checked.entry.title} has no form in GGUF files here", hint=hint)
    tokenizer = load_tokenizer(path)
    names, config = checked.family.gguf_names(config), config.settled()
    checkpoint, stored_names = open_checkpoint(path, checked)
    try:
        survey = Survey(checkpoint, stored_names)
        model = checked.family.model(checked.config)
        shapes = shapes_of(model, survey)
        survey.settle(checked.entry.title)
        stored = StoredSource(checkpoint, stored_names)
        found = gathered_of(model, shapes, stored)
        tensors = [_table(one, numbers) for one, numbers in rules.tables(config).items()]
        tensors += joined(names, {name: _changed(names, name, one) for name, one in found.items()})
        architecture = checked.entry.gguf_architecture
        values: dict[str, Any] = {"general.type": "model", "general.name": name}
        values |= {f"{architecture}.{key}": value for key, value in rules.meta(config).items()}
        notes = []
        if not model.makes_text or (path / "modules.json").is_file():
            pooling = read_pooling(path, model.pooling)
            values[f"{architecture}.pooling_type"] = gguf_type(pooling)
            notes += [] if pooling.normalise else ["vectors of a GGUF file get the length 1; those of this folder do not have it"]
        if (num_segments := getattr(config, "type_vocab_size", None)) is not None:
            values["tokenizer.ggml.token_type_count"] = num_segments  # where other readers look for it
        meta = typed(values | tokenizer_meta(tokenizer, config.vocab_size))
    except BaseException:
        checkpoint.__exit__()
        raise
    quantised = checked.declared.title if checked.declared is not None else ""
    return Source(architecture, meta, tensors, quantised, partial(_check, rules.values, config, tokenizer), checkpoint, notes)


def shapes_of(model: Model, survey: Survey) -> dict[str, Shape]:
    """Returns the shapes of all tensors for which the layers ask the survey, by their names here."""
    listing = _Listing(survey)
    model.load(Weights(listing, torch.float32, torch.device("cpu")))
    return listing.shapes


class _Listing:
    """A survey that notes the shapes too."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self.shapes: dict[str, Shape] = {}

    def has(self, name: str) -> bool:
        return self._survey.has(name)

    def read(self, name: str, shape: Shape, rows: slice | None, neutral: float | None) -> Tensor:
        self.shapes[name] = shape
        return self._survey.read(name, shape, rows, neutral)


def gathered_of(model: Model, shapes: Mapping[str, Shape], stored: StoredSource) -> dict[str, Gathered]:
    """Returns all tensors of a model in the form of GGUF files, by our names, from the shapes of those that its layers read."""
    weights = Weights(stored, torch.float32, torch.device("cpu"))
    others: dict[str, Gathered] = {}
    ends: list[str] = []
    for path, layer in model.named_modules():
        own = layer.gathered(weights.within(path)) if isinstance(layer, Layer) else None
        if own is not None:
            others |= {f"{path}.{name}": one for name, one in own.items()}
            ends.append(f"{path}.")
    plain = {name: shape for name, shape in shapes.items() if not name.startswith(tuple(ends))}
    return {name: Gathered(shape, [partial(stored.read, name, shape, None, None)]) for name, shape in plain.items()} | others


def _changed(names: Names, name: str, one: Gathered) -> Gathered:
    """Returns a tensor with what llama.cpp changes on the way in."""
    change = names.change_of(name)
    if change is None:
        return one

    def changed(read: Callable[[], Tensor | Blocks]) -> Tensor:
        value = read()
        return change.do(value.dense() if isinstance(value, Blocks) else value.float())

    return Gathered(one.shape, [partial(changed, read) for read in one.reads])


def joined(names: Names, found: Mapping[str, Gathered]) -> Iterator[SourceTensor]:
    """Yields tensors under the names of the file, those of which it has one tensor joined: from those by our names."""
    parts: dict[str, dict[int, Gathered]] = {}
    for name, one in found.items():
        file_name, cut = names.renamed(name), names.cut_of(name)
        if file_name == name:
            raise ModelUnsupported(f"GGUF files have no name for the tensor {name}")
        parts.setdefault(file_name, {})[cut.start if cut is not None else 0] = one
    for file_name, by_start in parts.items():
        whole = [by_start[start] for start in sorted(by_start)]
        shape = (sum(one.shape[0] for one in whole), *whole[0].shape[1:])
        yield SourceTensor(file_name, without_ones(shape), [read for one in whole for read in one.reads])


def _table(name: str, numbers: list[float]) -> SourceTensor:
    return SourceTensor(name, (len(numbers),), [lambda: torch.tensor(numbers)], is_setting=True)


def typed(values: Mapping[str, Any]) -> dict[str, GGUFValue]:
    """Returns values with their types in the file: whole numbers have no sign there, but for lists of them."""
    kinds = {
        bool: GGUFValueType.BOOL, int: GGUFValueType.UINT32, float: GGUFValueType.FLOAT32, str: GGUFValueType.STRING,
        list: GGUFValueType.ARRAY,
    }  # fmt: skip
    return {key: GGUFValue(value, kinds[type(value)]) for key, value in values.items()}


def _check(values_of: Callable[[GgufFile], Mapping[str, Any]], config: ModelConfig, tokenizer: Tokenizer, written: Path) -> None:
    check_model(written)
    other = config.make(values_of(open_gguf_file(written))).settled()
    for field in fields(config):
        said, meant = getattr(other, field.name), getattr(config, field.name)
        if not _is_same(said, meant):
            message = f"config.json has {field.name} = {shown(meant)}, for which a GGUF file of this family has no words"
            raise ModelUnsupported(message, hint=f"it would be read as {shown(said)}")
    if text := first_difference(tokenizer, load_tokenizer(written)):
        message = f"a GGUF file cannot describe this tokenizer: {shown(text)} would have other tokens"
        raise ModelUnsupported(message, hint="use the folder as it is")


def _is_same(one: Any, other: Any) -> bool:
    """Returns whether two values agree; GGUF files round to float32."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-6)
    return bool(one == other)
