"""A model that equals transformers passes; one that differs is shown with its first wrong layer, and status 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from workbench import cli
from workbench.eval import check
from workbench.model.blocks import MLP
from workbench.model.tiny import TINY_LLAMA

BERT = {
    "model_type": "bert", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.AutoConfig.for_model(**TINY_LLAMA, attention_bias=False))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(path)
    return path


def test_an_equal_model_passes(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["models", "check", str(folder), "--tokens", "8"]) == 0
    shown = capsys.readouterr().out
    rows = [line.split("  ")[0] for line in shown.splitlines()]
    assert rows[:5] == ["STAGE", "embedding", "layer 0", "layer 1", "logits"]
    assert shown.count("same text") == 3
    assert shown.endswith("equal to transformers\n")
    assert "NOT" not in shown
    assert "differs" not in shown


def test_of_a_model_that_sees_the_text_half_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The tower has as many layers as the text."""
    tower = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
             "num_attention_heads": 2, "image_size": 8, "patch_size": 4, "projection_dim": 8}  # fmt: skip
    config = transformers.LlavaConfig(text_config=TINY_LLAMA, vision_config=tower, image_token_index=5)
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    assert cli.main(["models", "check", str(tmp_path), "--tokens", "4"]) == 0
    assert capsys.readouterr().out.endswith("equal to transformers\n")


def test_the_first_layer_that_differs_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    plain = MLP.forward
    loaded = check.load_runner

    def spoilt(args: Any) -> Any:
        found = loaded(args)
        wrong = found.runner.model.layers[1].mlp

        def forward(mlp: MLP, *args: Any, **more: Any) -> Any:
            out = plain(mlp, *args, **more)
            return out.roll(1, -1) if mlp is wrong else out

        monkeypatch.setattr(MLP, "forward", forward)
        return found

    monkeypatch.setattr(check, "load_runner", spoilt)
    assert cli.main(["models", "check", str(folder), "--tokens", "8"]) == 1
    shown = capsys.readouterr().out
    marked = {line.split("  ")[0]: line.split("  ")[-1] for line in shown.splitlines()[1:5]}
    assert marked["layer 1"] == "<- the first that differs"
    assert marked["logits"] == "differs"
    assert "differs" not in marked["layer 0"]
    assert "other text from token" in shown
    assert shown.endswith("NOT equal to transformers\n")


def test_what_cannot_be_compared_is_refused_in_two_lines(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    own_code = {"model_type": "unheard_of", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config | own_code))
    (tmp_path / "evil.py").write_text("raise SystemExit('this must never run')")
    assert cli.main(["models", "check", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
    assert cli.main(["models", "check", str(folder), "--tokens", "0"]) == 2
    assert "it must be at least 1" in capsys.readouterr().err


KINDS = {"BertModel": "vector", "LlamaModel": "vector", "LlamaForSequenceClassification": "scores"}


@pytest.mark.parametrize(("kind", "what"), KINDS.items())
def test_vectors_and_scores_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, what: str):
    torch.manual_seed(0)
    config = BERT if kind.startswith("Bert") else {**TINY_LLAMA, "attention_bias": False, "num_labels": 3}
    model = getattr(transformers, kind)(transformers.AutoConfig.for_model(**config))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path)
    assert cli.main(["models", "check", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    rows = [line.split("  ")[0] for line in shown.splitlines()]
    assert rows[:7] == ["STAGE", "embedding", "layer 0", "layer 1", f"{what} 0", f"{what} 1", f"{what} 2"]
    with pytest.MonkeyPatch.context() as patch:
        opened = check.open_theirs

        def other(path: Path, kind: str) -> Any:
            theirs = opened(path, kind)
            for module in theirs.modules():
                for name in ("eps", "variance_epsilon"):
                    if hasattr(module, name):
                        setattr(module, name, 0.5)
            return theirs

        patch.setattr(check, "open_theirs", other)
        assert cli.main(["models", "check", str(tmp_path)]) == 1
    assert "<- the first that differs" in capsys.readouterr().out
