"""`bench loading`: the folder that it writes is a model, and its table has the seconds and the memory of both ways."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from workbench import cli
from workbench.bench import loading
from workbench.model.load import load_model

pytestmark = [pytest.mark.process, pytest.mark.heavy]


def test_the_table_has_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    for name, size in (("HIDDEN", 64), ("INNER", 96), ("VOCAB", 300)):
        monkeypatch.setattr(loading, name, size)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 300, "num_attention_heads": 4, "num_key_value_heads": 4}
    monkeypatch.setattr(loading, "CONFIG", loading.CONFIG | sizes)
    monkeypatch.setattr(loading, "LAYER_NUMBERS", 1_000_000)
    loading.write_folder(tmp_path, 0.01, 3)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    model = load_model(tmp_path, dtype=torch.bfloat16, device=torch.device("cpu"))
    assert len(model.layers) == 5
    assert cli.main(["bench", "loading", "--gb", "0.01", "--shards", "2", "--rounds", "1", "--folder", str(tmp_path)]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows[2:]] == ["from the disk", "from the system's cache"]
    for row in rows[2:]:
        read, load, ratio, own, _, most = map(float, row[2:])
        assert min(read, load) >= 0
        assert ratio > 0
        assert own < most + 0.05
    assert not [path for path in tmp_path.iterdir() if path.is_dir()], "what was written is deleted"
    assert cli.main(["bench", "loading", "--gb", "0"]) == 2
