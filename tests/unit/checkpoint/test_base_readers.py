"""Both readers give tensors by name: whole or some rows of them, dense or as blocks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize
from safetensors.torch import save_file

from workbench.checkpoint.base import Blocks
from workbench.checkpoint.files import check_whole, weight_files
from workbench.checkpoint.gguf_tensors import open_gguf
from workbench.checkpoint.safetensors_files import open_safetensors
from workbench.errors import ModelCorrupt, ModelNotFound, ModelUnsupported


@pytest.mark.parametrize("quant", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_a_gguf_gives_blocks_and_vectors_with_the_numbers_of_the_library(make_gguf: Callable[..., Path], quant: str):
    path = make_gguf(quant=gguf.GGMLQuantizationType[quant])
    with open_gguf(path) as checkpoint:
        for tensor in gguf.GGUFReader(path).tensors:
            value, stored = checkpoint.read(tensor.name), checkpoint.tensors[tensor.name]
            assert isinstance(value, Blocks) == (len(stored.shape) > 1), "matrices are blocks, vectors are not"
            assert stored.is_readable
            expected = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
            assert value.shape == stored.shape == tuple(expected.shape)
            assert torch.equal(value.dense() if isinstance(value, Blocks) else value.float(), expected)


@pytest.mark.parametrize("quant", ["F16", "Q8_0"])
def test_rows_of_a_gguf_tensor_are_those_of_the_whole(make_gguf: Callable[..., Path], quant: str):
    def dense(value: torch.Tensor | Blocks) -> torch.Tensor:
        return value.dense() if isinstance(value, Blocks) else value

    checkpoint = open_gguf(make_gguf(quant=gguf.GGMLQuantizationType[quant]))
    for name, rows in (("blk.1.ffn_down.weight", slice(3, 17)), ("output_norm.weight", slice(8, 64))):
        part = checkpoint.read(name, rows)
        assert part.shape[0] == rows.stop - rows.start
        assert torch.equal(dense(part), dense(checkpoint.read(name))[rows])


@pytest.mark.parametrize("quant", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_a_scale_that_is_no_finite_number_is_refused(make_gguf: Callable[..., Path], quant: str):
    path = make_gguf(quant=gguf.GGMLQuantizationType[quant])
    open_gguf(path).check_scales()
    tensor = next(tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == "blk.1.ffn_down.weight")
    data = bytearray(path.read_bytes())
    for at, bits in ((0, 0x7E00), (GGML_QUANT_SIZES[tensor.tensor_type][1] * 5, 0xFC00)):  # NaN, and minus infinity
        data[tensor.data_offset + at : tensor.data_offset + at + 2] = bits.to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(
        ModelCorrupt, match=rf"blk.1.ffn_down.weight \({quant}\) holds 2 of \d+ scales that are no finite numbers"
    ):
        open_gguf(path).check_scales()


def test_reading_a_gguf_does_not_change_the_file(make_gguf: Callable[..., Path]):
    path = make_gguf()
    before = path.read_bytes()
    norm = open_gguf(path).read("output_norm.weight")
    assert isinstance(norm, torch.Tensor)
    norm += 1
    assert path.read_bytes() == before


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    return {"a": torch.arange(12.0).view(3, 4), "b": torch.ones(5, dtype=torch.bfloat16), "c": torch.ones(2, dtype=torch.int8)}


@pytest.fixture
def folder(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    (tmp_path / "config.json").write_text("{}")
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path


@pytest.mark.parametrize("what", ["the folder", "the file"])
def test_safetensors_are_read_from_a_folder_or_one_file(folder: Path, tensors: dict[str, torch.Tensor], what: str):
    with open_safetensors(folder if what == "the folder" else folder / "model.safetensors") as checkpoint:
        assert {name: (stored.shape, stored.type) for name, stored in checkpoint.tensors.items()} == {
            "a": ((3, 4), "F32"), "b": ((5,), "BF16"), "c": ((2,), "I8"),
        }  # fmt: skip
        assert not checkpoint.tensors["c"].is_readable
        for name, expected in tensors.items():
            assert torch.equal(checkpoint.read(name), expected)
        assert torch.equal(checkpoint.read("a", slice(1, 3)), tensors["a"][1:3])


def test_a_tensor_in_two_files_is_an_error_unless_one_file_has_the_usual_name(tmp_path: Path, tensors: dict[str, torch.Tensor]):
    save_file(tensors, tmp_path / "a.safetensors")
    save_file({"b": tensors["b"]}, tmp_path / "b.safetensors")
    with pytest.raises(ModelCorrupt, match=r"b is in b\.safetensors and in another file"):
        open_safetensors(tmp_path)
    (tmp_path / "a.safetensors").rename(tmp_path / "model.safetensors")
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]


@pytest.mark.parametrize("keep", [0, 4, 7, 20, -1])
def test_truncated_safetensors_are_found_without_reading_the_tensors(folder: Path, keep: int):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    with pytest.raises(ModelCorrupt, match=r"model\.safetensors") as caught:
        check_whole(folder)
    assert f"{len(whole[:keep]):,} bytes" in caught.value.message


@pytest.mark.parametrize("read", [check_whole, open_safetensors], ids=["when it is found", "when it is loaded"])
def test_an_index_that_names_missing_shards_is_one_error_wherever_it_is_seen(folder: Path, read: Callable[[Path], object]):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelNotFound, match=r"lacks 1 of 2 weight files, model-2\.safetensors"):
        read(folder)
    save_file({"d": torch.ones(1)}, folder / "model-2.safetensors")
    read(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ModelCorrupt, match=r"index\.json"):
        read(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "model.ckpt"])
def test_pickled_weights_are_refused(folder: Path, name: str):
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(ModelUnsupported, match=f"pickled weights \\({name}") as caught:
        check_whole(folder)
    assert "safetensors" in caught.value.hint


def test_pickles_beside_safetensors_do_not_matter(folder: Path):
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    check_whole(folder)


def test_a_folder_without_weights_says_how_to_do_without(folder: Path):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match=r"no \*\.safetensors") as caught:
        check_whole(folder)
    assert "dummy" in caught.value.hint


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_config_that_is_no_object_is_an_error(folder: Path, text: str):
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelCorrupt, match=r"config\.json"):
        check_whole(folder)


def test_a_folder_with_an_adapter_is_refused(folder: Path):
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    for read in (check_whole, open_safetensors):
        with pytest.raises(ModelUnsupported, match="holds an adapter") as caught:
            read(folder)
        assert "merge" in caught.value.hint
