"""The head of a GGUF file is what the library reads there; damaged and foreign files are errors with the path and the size."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.checkpoint.gguf_file import GgufFile, shortest
from workbench.errors import ModelCorrupt, ModelNotFound, ModelUnsupported

Maker = Callable[..., Path]


@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_metadata_and_tensors_are_those_of_the_library(tiny_ggufs: dict[str, Path], arch: str):
    ours, theirs = GgufFile(tiny_ggufs[arch]), gguf.GGUFReader(tiny_ggufs[arch])
    fields = {name: field for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert list(ours.meta) == list(fields)
    for name, field in fields.items():
        expected = field.contents()
        assert ours.meta.get(name) == (shortest(expected) if isinstance(expected, float) else expected), name
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        mine = ours.tensors[tensor.name]
        assert mine.shape == tuple(int(size) for size in reversed(tensor.shape))
        assert (mine.type.name, mine.start) == (tensor.tensor_type.name, tensor.data_offset)
        assert mine.num_rows * mine.row_bytes == tensor.n_bytes


def test_small_floats_can_be_read_without_torch(tiny_ggufs: dict[str, Path]):
    file = GgufFile(tiny_ggufs["llama"])
    theirs = next(tensor for tensor in gguf.GGUFReader(file.path).tensors if tensor.name == "output_norm.weight")
    assert file.floats("output_norm.weight") == theirs.data.tolist()
    with pytest.raises(ModelUnsupported, match=r"token_embd\.weight has type Q8_0"):
        file.floats("token_embd.weight")


@given(value=st.floats(width=32, allow_nan=False))
def test_a_number_is_written_with_as_few_digits_as_float32_has(value: float):
    assert np.float32(shortest(value)) == np.float32(value)
    assert len(repr(shortest(value))) <= len(repr(value))
    assert shortest(float(np.float32(1e-5))) == 1e-5


def test_one_number_for_all_layers_may_be_a_list(make_gguf: Maker):
    meta = GgufFile(make_gguf(meta={"a.same": [2, 2], "a.other": [2, 4]})).meta
    assert (meta.number("a.same"), meta.number("a.none", 7)) == (2, 7)
    with pytest.raises(ModelUnsupported, match=r"a\.other = \[2, 4\]: layers that differ in it"):
        meta.number("a.other")
    with pytest.raises(ModelCorrupt, match=r"no a\.none"):
        meta.number("a.none")


def test_a_missing_file_is_not_found(tmp_path: Path):
    with pytest.raises(ModelNotFound, match=r"no file .*x\.gguf"):
        GgufFile(tmp_path / "x.gguf")


def test_a_file_that_is_no_gguf_says_what_it_begins_with(tmp_path: Path):
    path = tmp_path / "page.gguf"
    path.write_text("<html>not found</html>")
    with pytest.raises(ModelCorrupt, match=r"22 bytes\) is not a GGUF file: it starts with b'<htm'"):
        GgufFile(path)


def test_another_version_of_the_format_is_refused(make_gguf: Maker):
    path = make_gguf()
    data = path.read_bytes()
    path.write_bytes(data[:4] + struct.pack("<I", 1) + data[8:])
    with pytest.raises(ModelUnsupported, match="is GGUF version 1"):
        GgufFile(path)


@pytest.mark.parametrize("part", [0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_named_with_its_size(make_gguf: Maker, part: float):
    path = make_gguf()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ModelCorrupt, match=re.escape(str(path))) as caught:
        GgufFile(path)
    assert f"{int(len(whole) * part):,} bytes" in caught.value.message
    assert not re.search("Error|error:|unpack", caught.value.message)


def test_a_type_that_is_not_known_is_named_beside_those_that_are(make_gguf: Maker):
    path, name = make_gguf(), b"output_norm.weight"
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<Q", len(name)) + name) + 8 + len(name) + 4 + 8  # behind the only size
    data[place : place + 4] = struct.pack("<I", 99)
    path.write_bytes(data)
    with pytest.raises(ModelUnsupported, match=r"output_norm\.weight has the type number 99.*\nknown: .*Q4_K") as caught:
        GgufFile(path)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("key, count", [("tokenizer.ggml.tokens", 1 << 60), ("tokenizer.ggml.token_type", 1 << 40)])
def test_an_array_of_absurd_length_is_damage(make_gguf: Maker, key: str, count: int):
    path = make_gguf()
    data = path.read_bytes()
    place = data.index(key.encode()) + len(key) + 4 + 4
    path.write_bytes(data[:place] + struct.pack("<Q", count) + data[place + 8 :])
    with pytest.raises(ModelCorrupt, match="truncated or damaged"):
        GgufFile(path)


@given(changes=st.dictionaries(st.integers(4, 12_000), st.integers(0, 255), min_size=1, max_size=4))
def test_damage_in_the_head_is_an_error_of_ours_or_harmless(
    tiny_ggufs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, changes: dict[int, int]
):
    from workbench.model.check import check_model
    from workbench.text.gguf_tokenizer import open_tokenizer

    data = bytearray(tiny_ggufs["llama"].read_bytes())
    for place, value in changes.items():
        data[place] = value
    path = tmp_path_factory.mktemp("damaged") / "x.gguf"
    path.write_bytes(data)
    for read in (check_model, lambda path: open_tokenizer(GgufFile(path))):
        try:
            read(path)
        except (ModelCorrupt, ModelUnsupported):
            continue
