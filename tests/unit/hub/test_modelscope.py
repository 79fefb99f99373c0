"""With WORKBENCH_USE_MODELSCOPE models come from ModelScope's library; here one that gives a local folder."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from workbench.errors import ModelNotFound, NotSupported
from workbench.hub import find
from workbench.model.tiny import write_config


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The requests that the library got."""
    folder, calls = write_config(tmp_path / "fetched"), list[dict[str, Any]]()
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")

    def snapshot_download(repo: str, **how: Any) -> str:
        calls.append({"repo": repo} | how)
        if repo != "org/name":
            raise ValueError("404: not\nfound")
        return str(folder)

    library = ModuleType("modelscope")
    monkeypatch.setattr(library, "snapshot_download", snapshot_download, raising=False)
    monkeypatch.setitem(sys.modules, "modelscope", library)
    return calls


@pytest.mark.parametrize("name", ["WORKBENCH_USE_MODELSCOPE", "SGLANG_USE_MODELSCOPE"])
def test_a_model_comes_from_modelscope_where_the_environment_asks(
    name: str, asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(name, "true")
    assert find.resolve("org/name", revision="v2", download_dir=tmp_path / "kept").path == tmp_path / "fetched"
    assert {(call["revision"], call["cache_dir"]) for call in asked} == {("v2", tmp_path / "kept")}
    assert "*.safetensors" not in asked[0]["allow_patterns"]
    assert "*.safetensors" in asked[-1]["allow_patterns"]
    with pytest.raises(ModelNotFound, match="ModelScope gives no org/other: ValueError: 404: not"):
        find.resolve("org/other")
    with pytest.raises(ModelNotFound, match=r"no file a\.gguf on ModelScope"):
        find.resolve("org/name:a.gguf")


def test_the_missing_library_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_USE_MODELSCOPE", "1")
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(NotSupported, match="modelscope is not installed") as caught:
        find.resolve("org/name")
    assert "pip install modelscope" in caught.value.hint
