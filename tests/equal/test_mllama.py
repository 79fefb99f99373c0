"""Llama 3.2 Vision equals transformers' class: text that looks at pictures by cross attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import seeing
import torch
import transformers
from family import seeded
from seeing import Case, picture
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

ARCHITECTURE = "MllamaForConditionalGeneration"
IMAGE = 320
"""The first id behind the vocabulary."""
TEXT: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "cross_attention_layers": [1, 3], "bos_token_id": 256,
    "eos_token_id": None, "pad_token_id": 257, "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
}  # fmt: skip
TOWER: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_global_layers": 2, "attention_heads": 2,
    "image_size": 16, "patch_size": 4, "vision_output_dim": 96, "intermediate_layers_indices": [0, 2],
}  # fmt: skip
MARK = "<|image|>"


def made(**values: Any) -> Any:
    config = transformers.MllamaConfig(
        text_config=TEXT | values.pop("text", {}), vision_config=TOWER | values.pop("tower", {}), image_token_index=IMAGE
    )
    model = transformers.MllamaForConditionalGeneration._from_config(
        config, attn_implementation="eager", dtype=torch.float32, **values
    )
    return seeded(model)


def tokenizer() -> Any:
    words = [f"<|reserved_{i}|>" for i in range(IMAGE - 258)]
    return seeing.tokenizer((*words, MARK))


def processor() -> Any:
    return transformers.MllamaProcessor(MllamaImageProcessorPil(size={"height": 16, "width": 16}), tokenizer())


FIRST = (
    Case(f"{MARK}What is this?", (picture(1),)),
    Case(f"{MARK}What is this?", (picture(2),)),
    Case(f"{MARK}{MARK}Compare both.", (picture(1), picture(3, 20, 60))),
    Case(f"{MARK}One. {MARK}{MARK}Two. {MARK}", (picture(1), picture(3, 20, 60), picture(1), picture(4, 90, 9))),
    Case("No picture at all."),
)


def test_pictures_before_all_text(tmp_path: Path):
    reference = made()
    seeing.hold(seeing.saved(reference, processor(), tmp_path), reference, processor(), FIRST)
