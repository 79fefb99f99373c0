"""`load_format="pt"`: the tensors of `pytorch_model*.bin` and nothing else of it, and only where it is asked for."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import logits_of, planned, runner_of, stored

from workbench.checkpoint.files import check_whole
from workbench.checkpoint.pickled_files import open_pickled
from workbench.errors import InvalidRequest, ModelCorrupt, ModelNotFound, ModelUnsupported
from workbench.hub.find import resolve
from workbench.model.load import load_model
from workbench.model.tiny import TINY_LLAMA, write_config
from workbench.types import Segment

TENSORS = {"a": torch.arange(12.0).view(4, 3), "b": torch.ones(3, dtype=torch.bfloat16), "c": torch.ones(2, dtype=torch.int8)}
RAN: list[str] = []


class Runs:
    """An object whose reading would call a function."""

    def __reduce__(self) -> Any:
        return RAN.append, ("ran",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_config(tmp_path, TINY_LLAMA)
    return tmp_path


@pytest.mark.parametrize("is_old", [False, True], ids=["archive", "the form before"])
def test_tensors_are_read_by_name_with_their_types(folder: Path, is_old: bool):
    torch.save(OrderedDict(TENSORS), folder / "pytorch_model.bin", _use_new_zipfile_serialization=not is_old)
    with open_pickled(folder) as checkpoint:
        assert {name: one.type for name, one in checkpoint.tensors.items()} == {"a": "F32", "b": "BF16", "c": "int8"}
        assert [one.is_readable for one in checkpoint.tensors.values()] == [True, True, False]
        assert all(torch.equal(checkpoint.read(name), tensor) for name, tensor in TENSORS.items())
        assert torch.equal(checkpoint.read("a", slice(1, 3)), TENSORS["a"][1:3])


def test_a_model_in_two_files_is_the_one_of_safetensors(folder: Path):
    stored(folder, TINY_LLAMA)
    tensors = load_file(folder / "model.safetensors")
    expected = load_model(folder, dtype=torch.float32, device=torch.device("cpu"))
    (folder / "model.safetensors").unlink()
    names, files = sorted(tensors), ("pytorch_model-1.bin", "pytorch_model-2.bin")
    for file, half in zip(files, (names[::2], names[1::2]), strict=True):
        torch.save({name: tensors[name] for name in half}, folder / file)
    torch.save({"step": 3}, folder / "pytorch_model-of-something-else.bin")  # not in the index
    index = {"weight_map": {name: files[names.index(name) % 2] for name in names}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert resolve(folder, load_format="pt").path == folder
    model = load_model(folder, dtype=torch.float32, device=torch.device("cpu"), pickled=True)
    whole = planned(1, list(range(9)), 0, 9, [Segment(0, tuple(range(9)))])
    one, other = (logits_of(runner_of(made, "torch"), whole) for made in (model, expected))
    assert torch.equal(one, other)
    (folder / files[1]).unlink()
    with pytest.raises(ModelNotFound, match=r"lacks 1 of 2 weight files, pytorch_model-2\.bin"):
        check_whole(folder, "pt")


@pytest.mark.parametrize("value", [{"a": Runs()}, Runs(), {"a": TENSORS["a"], "b": Path()}], ids=["value", "whole", "class"])
def test_a_file_with_code_is_not_run(folder: Path, value: Any):
    torch.save(value, folder / "pytorch_model.bin")
    with pytest.raises(ModelUnsupported, match=r"pytorch_model\.bin holds [\w.]+, which can run code") as caught:
        open_pickled(folder)
    assert "save_pretrained" in caught.value.hint
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(value))
    with pytest.raises((ModelUnsupported, ModelCorrupt)):
        open_pickled(folder)
    assert not RAN


def test_a_file_that_holds_more_than_weights_or_is_damaged_is_refused(folder: Path):
    path = folder / "pytorch_model.bin"
    for value, what in (({"state_dict": TENSORS, "epoch": 3}, "'state_dict', which is no tensor"), ([1], "no tensors by name")):
        torch.save(value, path)
        with pytest.raises(ModelUnsupported, match=what):
            open_pickled(folder)
    torch.save(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelCorrupt, match=r"pytorch_model\.bin \([\d,]+ bytes\) is truncated or damaged"):
        open_pickled(folder)


def test_pickled_weights_are_read_only_if_asked(folder: Path):
    torch.save(TENSORS, folder / "pytorch_model.bin")
    with pytest.raises(ModelUnsupported, match=r"pickled weights \(pytorch_model\.bin\)") as caught:
        resolve(folder)
    assert 'load_format="pt"' in caught.value.hint
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelNotFound, match=r"no pytorch_model\*\.bin"):
        resolve(folder, load_format="pt")
    with pytest.raises(InvalidRequest, match="load_format is 'pt'"):
        resolve("smollm2-135m", load_format="pt")
