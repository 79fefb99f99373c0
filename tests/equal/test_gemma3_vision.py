"""Gemma 3 with pictures equals transformers' class: its tokens of a picture see each other in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import seeing
import torch
import transformers
from family import seeded
from seeing import Case, picture
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

ARCHITECTURE = "Gemma3ForConditionalGeneration"
SPECIAL = ("<image_soft_token>", "<start_of_image>", "<end_of_image>")
TEXT: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512, "query_pre_attn_scalar": 24, "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention"], "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
TOWER: dict[str, Any] = {
    "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 2, "image_size": 24, "patch_size": 4, "vision_use_head": False,
}  # fmt: skip
CASES = (
    Case("See <start_of_image> there.", (picture(1),)),
    Case("See <start_of_image> there.", (picture(2),)),
    Case("<start_of_image> or <start_of_image>?", (picture(1), picture(3))),
    Case("No picture at all."),
)


def made() -> Any:
    config = transformers.Gemma3Config(
        text_config=TEXT,
        vision_config=TOWER,
        mm_tokens_per_image=9,
        image_token_index=258,
        boi_token_index=259,
        eoi_token_index=260,
    )
    model = getattr(transformers, ARCHITECTURE)._from_config(config, attn_implementation="eager", dtype=torch.float32)
    return seeded(model)


def processor() -> Any:
    tokens = {"image_token": SPECIAL[0], "boi_token": SPECIAL[1], "eoi_token": SPECIAL[2]}
    images = Gemma3ImageProcessorPil(size={"height": 24, "width": 24})
    return transformers.Gemma3Processor(images, seeing.tokenizer(SPECIAL, extra_special_tokens=tokens), image_seq_length=9)


@pytest.mark.heavy
def test_gemma3_with_pictures(tmp_path: Path):
    reference = made()
    seeing.hold(seeing.saved(reference, processor(), tmp_path), reference, processor(), CASES)


def test_both_directions_matter():
    reference = made()
    seen = seeing.Seen(reference, processor(), CASES[0])
    plain = reference(input_ids=torch.tensor([seen.ids]), pixel_values=seen.inputs["pixel_values"]).logits[0]
    assert (plain - seen.logits).abs().max() > 1e-2
