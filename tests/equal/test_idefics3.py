"""SmolVLM and Idefics 3 equal transformers' classes, from tiles of pictures to tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import seeing
import torch
import transformers
from family import seeded
from seeing import Case, picture
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from workbench import cli
from workbench.pictures.eyes import Eyes

SPECIAL = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>",
           *(f"<row_{row}_col_{column}>" for row in (1, 2, 3) for column in (1, 2, 3)))  # fmt: skip
TEXT: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": 257,
}  # fmt: skip
TOWER: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 4,
}  # fmt: skip
CASES = (
    Case("See <image> there.", (picture(1, 32, 20),)),
    Case("See <image> there.", (picture(2, 32, 20),)),
    Case("<image> or <image>?", (picture(1), picture(3, 20, 60))),
    Case("No picture at all."),
)
CLASSES = {"idefics3": transformers.Idefics3ForConditionalGeneration, "smolvlm": transformers.SmolVLMForConditionalGeneration}


def made(kind: str) -> Any:
    config = transformers.AutoConfig.for_model(kind, text_config=TEXT, vision_config=TOWER, image_token_id=258, scale_factor=2)
    model = seeded(CLASSES[kind]._from_config(config, attn_implementation="eager", dtype=torch.float32))
    model.lm_head.weight.data[258] = 0  # no continuation has the token of pictures, which the class would count
    return model


def processor(*, cuts: bool) -> Any:
    images = Idefics3ImageProcessorPil(size={"longest_edge": 32}, max_image_size={"longest_edge": 16}, do_image_splitting=cuts)
    return transformers.Idefics3Processor(images, seeing.tokenizer(SPECIAL), image_seq_len=4)


@pytest.mark.heavy
@pytest.mark.parametrize(("kind", "cuts"), [("idefics3", True), ("smolvlm", False)])
def test_idefics(tmp_path: Path, kind: str, cuts: bool):
    reference, words = made(kind), processor(cuts=cuts)
    seeing.hold(seeing.saved(reference, words, tmp_path), reference, words, CASES)


def test_a_model_that_sees_is_checked_with_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    reference, words = made("smolvlm"), processor(cuts=False)
    folder = seeing.saved(reference, words, tmp_path / "model")
    named = tmp_path / "picture.png"
    named.write_bytes(seeing.png(picture(5)))
    for more in ([], ["--picture", str(named)]):
        assert cli.main(["models", "check", str(folder), "--tokens", "2", *more]) == 0
        rows = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
        assert rows[5:9] == ["picture: embedding", "picture: layer 0", "picture: layer 1", "picture: logits"]
    plain = Eyes._made  # eyes that see another picture
    monkeypatch.setattr(Eyes, "_made", lambda eyes, kind, data, count: plain(eyes, kind, [seeing.png(picture(6))], count))
    assert cli.main(["models", "check", str(folder), "--tokens", "2"]) == 1
    first = next(line for line in capsys.readouterr().out.splitlines() if line.endswith("<- the first that differs"))
    assert first.startswith("picture: embedding")
    assert cli.main(["models", "check", str(folder), "--picture", str(tmp_path / "none.png")]) == 2
