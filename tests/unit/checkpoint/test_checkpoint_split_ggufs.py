"""A model that is split into several GGUF files is the one that one file holds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch

from workbench.checkpoint.gguf_file import GgufFile
from workbench.errors import ModelCorrupt, ModelNotFound, ModelUnsupported, WorkbenchError
from workbench.model.load import load_model

Maker = Callable[..., Path]
COUNT = 3


def split(whole: Path, folder: Path, count: int = COUNT) -> list[Path]:
    """Writes a file's tensors into several, as llama.cpp does, and returns their paths."""
    reader = gguf.GGUFReader(whole)
    folder.mkdir()
    each = -(-len(reader.tensors) // count)
    writer = gguf.GGUFWriter(folder / "m.gguf", "llama", split_max_tensors=each)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind, inner = field.types[0], field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), kind, inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("*.gguf"))


@pytest.fixture
def parts(make_gguf: Maker, tmp_path: Path) -> list[Path]:
    return split(make_gguf(), tmp_path / "parts")


def test_all_parts_are_one_model(make_gguf: Maker, parts: list[Path]):
    assert len(parts) == COUNT
    whole, joined = GgufFile(make_gguf()), GgufFile(parts[0])
    assert {name: (one.type, one.shape) for name, one in joined.tensors.items()} == {
        name: (one.type, one.shape) for name, one in whole.tensors.items()
    }
    assert joined.floats("output_norm.weight") == whole.floats("output_norm.weight")
    one, other = (load_model(path, dtype=torch.float32, device=torch.device("cpu")) for path in (whole.path, parts[0]))
    assert one.weights_bytes() == other.weights_bytes()
    x = torch.randn(3, 64)
    for mine, theirs in zip(one.modules(), other.modules(), strict=True):
        if getattr(mine, "in_features", None) == 64:
            torch.testing.assert_close(theirs(x), mine(x), rtol=0, atol=0)


def test_parts_behind_links_of_a_hub_are_found(parts: list[Path], tmp_path: Path):
    (tmp_path / "blobs").mkdir()
    for number, part in enumerate(parts):
        blob = tmp_path / "blobs" / f"{number:x}"
        part.rename(blob)
        part.symlink_to(blob)
    load_model(parts[0], dtype=torch.float32, device=torch.device("cpu"))


def refused(path: Path, error: type[WorkbenchError], message: str) -> None:
    with pytest.raises(error, match=message) as found:
        GgufFile(path)
    assert len(str(found.value).splitlines()) == 2


def test_parts_that_make_no_model_are_refused(parts: list[Path]):
    refused(parts[1], ModelUnsupported, r"is part 2 of 3\ngive the first: m-00001-of-00003\.gguf")
    shutil.copy(parts[1], parts[2])
    refused(parts[0], ModelCorrupt, "in two of its 3 parts")
    parts[2].unlink()
    refused(parts[0], ModelNotFound, r"and m-00003-of-00003\.gguf is missing\nput all parts into the folder")
    renamed = parts[0].rename(parts[0].with_name("mine.gguf"))
    refused(renamed, ModelUnsupported, r"is part 1 of 3\ncall the parts NAME-00001-of-00003\.gguf")
