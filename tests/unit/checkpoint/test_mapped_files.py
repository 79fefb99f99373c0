"""Files that are read take little memory of the process, and their tensors stay what they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from workbench.checkpoint import mapped_files
from workbench.checkpoint.safetensors_files import open_safetensors


def mapped() -> int:
    words = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(words["RssFile"].split()[0]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system alone decides")
def test_pages_that_were_read_leave_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    size = 2 << 20  # numbers, 8 MiB
    save_file({f"t{i}": torch.full((size,), float(i)) for i in range(8)}, tmp_path / "model.safetensors")
    monkeypatch.setattr(mapped_files, "MOST_BYTES", 15 << 20)
    before, most, kept = mapped(), 0, []
    with open_safetensors(tmp_path) as checkpoint:
        for i in range(8):
            kept.append(checkpoint.read(f"t{i}"))
            assert float(kept[i].sum()) == i * size
            most = max(most, mapped() - before)
    assert most < 30 << 20
    assert mapped() - before < 8 << 20
    assert [float(tensor.sum()) for tensor in kept] == [i * size for i in range(8)], "they are read again where they are used"


def test_memory_that_is_no_file_stays(tmp_path: Path):
    file, own = tmp_path / "other", torch.arange(10_000.0)
    file.write_bytes(b"0" * 100)
    files = mapped_files.MappedFiles()
    files.note(file, own)
    files.let_go()
    assert torch.equal(own, torch.arange(10_000.0))
