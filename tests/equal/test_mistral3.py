"""Mistral Small 3.1 with pictures, and Pixtral, equal transformers' classes. The text of their processor is written out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import seeing
import torch
import transformers
from family import seeded
from PIL import Image
from seeing import Case, picture
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

ARCHITECTURE = "Mistral3ForConditionalGeneration"
SPECIAL = ("[IMG]", "[IMG_BREAK]", "[IMG_END]")
TEXT: dict[str, Any] = {
    "model_type": "mistral", "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": None,
    "eos_token_id": None, "sliding_window": None, "head_dim": 16,
}  # fmt: skip
TOWER: dict[str, Any] = {
    "model_type": "pixtral", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
    "image_size": 48, "patch_size": 4, "head_dim": 16,
}  # fmt: skip
CASES = (
    Case("See [IMG] there.", (picture(1),)),
    Case("See [IMG] there.", (picture(2),)),
    Case("[IMG] or [IMG]?", (picture(1), picture(3, 20, 60))),
    Case("No picture at all."),
)


class Rows:
    """Text with the tokens of each picture in rows, and pictures resized by the processor of transformers."""

    def __init__(self, merge: int = 2) -> None:
        self.cell = 4 * merge
        self.image_processor = PixtralImageProcessorPil(patch_size={"height": 4, "width": 4}, size={"longest_edge": 40})
        self.tokenizer = seeing.tokenizer(SPECIAL)

    def __call__(self, text: list[str], images: Sequence[Image.Image] = (), return_tensors: str = "pt") -> dict[str, Any]:
        given: dict[str, Any] = {}
        pieces = text[0].split("[IMG]")
        whole = pieces[0]
        if images:
            made = self.image_processor([*images], return_tensors=return_tensors, patch_size=self.cell)
            given = {"pixel_values": made["pixel_values"], "image_sizes": torch.as_tensor(made["image_sizes"])}
            for (height, width), piece in zip(given["image_sizes"].tolist(), pieces[1:], strict=True):
                row = "[IMG]" * (width // self.cell)
                whole += "[IMG_BREAK]".join([row] * (height // self.cell)) + "[IMG_END]" + piece
        return {"input_ids": torch.tensor([self.tokenizer.encode(whole, add_special_tokens=False)]), **given}

    def save_pretrained(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)


def made(**values: Any) -> Any:
    config = transformers.Mistral3Config(
        text_config=TEXT, vision_config=TOWER, image_token_index=258, tie_word_embeddings=False, **values
    )
    return seeded(getattr(transformers, ARCHITECTURE)._from_config(config, attn_implementation="eager", dtype=torch.float32))


@pytest.mark.heavy
def test_mistral3(tmp_path: Path):
    reference = made()
    seeing.hold(seeing.saved(reference, Rows(), tmp_path), reference, Rows(), CASES)


def test_an_earlier_layer_of_the_tower(tmp_path: Path):
    reference = made(vision_feature_layer=-2)
    folder = seeing.saved(reference, Rows(), tmp_path)
    seen, expected = seeing.looked(folder, CASES[:1])[0], seeing.Seen(reference, Rows(), CASES[0]).logits
    torch.testing.assert_close(seeing.prefill_logits(folder, seen, "torch"), expected, rtol=1e-4, atol=1e-4)
    assert (seeing.Seen(made(), Rows(), CASES[0]).logits - expected).abs().max() > 1e-2


@pytest.mark.heavy
def test_pixtral(tmp_path: Path):
    config = transformers.LlavaConfig(
        text_config=TEXT, vision_config=TOWER, image_token_index=258, vision_feature_layer=-1,
        vision_feature_select_strategy="full", projector_hidden_act="gelu",
    )  # fmt: skip
    reference = transformers.LlavaForConditionalGeneration._from_config(config, attn_implementation="eager", dtype=torch.float32)
    seeing.hold(seeing.saved(seeded(reference), Rows(1), tmp_path), reference, Rows(1), CASES)
