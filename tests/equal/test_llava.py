"""The LLaVA families equal transformers' classes, from a picture to tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import seeing
import torch
import transformers
from family import seeded
from seeing import Case, picture
from tiny_configs import CLIP, TEXT
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

ARCHITECTURE = "LlavaForConditionalGeneration"
IMAGE = 258
"""The id of <image> in the tokenizer of `seeing`."""
CASES = (
    Case("What is <image> this?", (picture(1),)),
    Case("What is <image> this?", (picture(2),)),
    Case("<image><image>\nCompare both.", (picture(1), picture(3, 20, 60))),
    Case("No picture at all."),
)


def made(text_type: str = "llama", vision: dict[str, Any] = CLIP, **values: Any) -> Any:
    config = transformers.LlavaConfig(
        text_config={"model_type": text_type, **TEXT}, vision_config=vision, image_token_index=IMAGE, **values
    )
    model = getattr(transformers, ARCHITECTURE)._from_config(config, attn_implementation="eager", dtype=torch.float32)
    return seeded(model)


def processor(strategy: str = "default") -> Any:
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    return transformers.LlavaProcessor(
        images, seeing.tokenizer(), patch_size=7, vision_feature_select_strategy=strategy, num_additional_image_tokens=1
    )


@pytest.mark.parametrize("text_type", ["llama", "mistral"])
def test_llava(tmp_path: Path, text_type: str):
    reference = made(text_type)
    assert type(reference).__name__ == ARCHITECTURE
    seeing.hold(seeing.saved(reference, processor(), tmp_path), reference, processor(), CASES)


def test_features_of_several_layers_and_the_vector_of_the_whole(tmp_path: Path):
    reference = made(vision_feature_layer=[-3, 1, -1], vision_feature_select_strategy="full")
    full = processor("full")
    folder = seeing.saved(reference, full, tmp_path)
    seeing.hold(folder, reference, full, CASES[:2])


def test_the_settings_of_features_matter():
    inputs = seeing.Seen(made(), processor(), CASES[0])
    for other in ({"vision_feature_layer": -1}, {"projector_hidden_act": "relu"}):
        changed = seeing.Seen(made(**other), processor(), CASES[0])
        assert (changed.logits - inputs.logits).abs().max() > 1e-2, other


def test_a_folder_of_older_files(tmp_path: Path):
    """Names of transformers 4, with a level more in the tower, and a text_config without what the class supposes."""
    from safetensors.torch import load_file, save_file

    reference = made()
    folder = seeing.saved(reference, processor(), tmp_path)
    stored = load_file(folder / "model.safetensors")
    older = {name.replace("vision_tower.", "vision_tower.vision_model."): tensor for name, tensor in stored.items()}
    older["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(older, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    text = {key: config["text_config"][key] for key in (*TEXT, "model_type") if config["text_config"].get(key) is not None}
    more = {"text_config": text | {"torch_dtype": "float16"}, "ignore_index": -100, "vocab_size": 320, "pad_token_id": 257}
    (folder / "config.json").write_text(json.dumps(config | more))
    (folder / "processor_config.json").unlink()
    seeing.hold(folder, reference, processor(), CASES[:2])


GRIDS = [[28, 56], [56, 28], [56, 56]]


def made_next(text_type: str = "llama", **values: Any) -> Any:
    config = transformers.LlavaNextConfig(
        text_config={"model_type": text_type, **TEXT}, vision_config=CLIP, image_token_index=IMAGE, image_grid_pinpoints=GRIDS,
        **values,
    )  # fmt: skip
    model = transformers.LlavaNextForConditionalGeneration._from_config(config, attn_implementation="eager", dtype=torch.float32)
    model = seeded(model)
    torch.nn.init.normal_(model.model.image_newline)
    return model


def next_processor() -> Any:
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=GRIDS
    )
    return transformers.LlavaNextProcessor(
        images, seeing.tokenizer(), patch_size=7, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )


NEXT_CASES = (
    Case("What is <image> this?", (picture(1),)),
    Case("What is <image> this?", (picture(2),)),
    Case("<image><image>\nCompare.", (picture(1, 90, 31), picture(3, 20, 60))),
    Case("No picture at all."),
)


@pytest.mark.parametrize("text_type", ["mistral", "qwen2"])
def test_llava_next(tmp_path: Path, text_type: str):
    reference = made_next(text_type)
    seeing.hold(seeing.saved(reference, next_processor(), tmp_path), reference, next_processor(), NEXT_CASES)


@pytest.mark.parametrize("size", [(5, 80), (80, 5), (33, 34), (57, 41), (20, 20), (300, 7)])
def test_pictures_of_every_shape_become_as_many_tokens(tmp_path: Path, size: tuple[int, int]):
    reference, images = made_next(), next_processor()
    folder = seeing.saved(reference, images, tmp_path)
    case = Case("<image>", (picture(1, *size),))
    (seen,) = seeing.looked(folder, [case])
    wanted = seeing.Seen(reference, images, case)
    assert seen.ids == wanted.ids
    torch.testing.assert_close(seeing.prefill_logits(folder, seen, "torch"), wanted.logits, rtol=1e-4, atol=1e-4)
