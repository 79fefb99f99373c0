"""A tokenizer that is here is read while torch is imported, and the engine takes that one."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from tiny_text import write_text_model

from workbench.config import ServerArgs
from workbench.errors import ModelCorrupt
from workbench.hub.catalog import CATALOG
from workbench.hub.from_args import is_gguf_here
from workbench.launch import start
from workbench.launch.runner import load_runner
from workbench.text.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_model(tmp_path_factory.mktemp("model"))


def test_only_a_gguf_file_of_this_machine_is_read_ahead(tmp_path: Path, folder: Path) -> None:
    def is_here(model: Path | str, **settings: Any) -> bool:
        return is_gguf_here(ServerArgs.make(model_path=str(model), download_dir=str(tmp_path), **settings))

    file = tmp_path / "one.gguf"
    assert not is_here(file), "not there"
    file.write_bytes(b"GGUF")
    assert is_here(file)
    assert not is_here(file, skip_tokenizer_init=True)
    assert not is_here(file, tokenizer_path=str(folder))
    assert not is_here(folder)
    assert not is_here("some/model")

    alias, entry = next((name, entry) for name, entry in CATALOG.items() if entry.format == "gguf")
    assert not is_here(alias), "not fetched"
    fetched = tmp_path / alias / "gguf" / entry.file
    fetched.parent.mkdir(parents=True)
    with fetched.open("wb") as stream:
        stream.truncate(entry.size)
    assert is_here(alias)


def test_a_damaged_file_is_refused_where_its_tokenizer_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "one.gguf"
    file.write_bytes(b"GGUF")
    found = start._ahead(ServerArgs.make(model_path=str(file)))
    assert found is not None
    with pytest.raises(ModelCorrupt, match="truncated"):
        found.result()
    assert start._ahead(ServerArgs.make(model_path=str(tmp_path))) is None


def test_the_tokenizer_that_is_being_read_is_the_engines(folder: Path) -> None:
    args = ServerArgs.make(model_path=str(folder), load_format="dummy", device="cpu", dtype="float32", max_total_tokens=64)
    found: Future[Any] = Future()
    found.set_result(tokenizer := load_tokenizer(folder))
    assert load_runner(args, None, found).tokenizer is tokenizer
    failed: Future[Any] = Future()
    failed.set_exception(ModelCorrupt("no tokenizer", hint="none"))
    with pytest.raises(ModelCorrupt, match="no tokenizer"):
        load_runner(args, None, failed)
