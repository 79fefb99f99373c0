"""LLaVA-NeXT and LLaVA-OneVision equal transformers' classes, from pictures of any shape to tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import seeing
import tiny_configs
import torch
import transformers
from family import seeded
from seeing import Case, picture
from tiny_configs import TEXT
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from workbench.pictures.tiles import best_resolution, without_padding

CLIP = tiny_configs.CLIP | {"image_size": 12, "patch_size": 4}
SIGLIP = {key: value for key, value in CLIP.items() if key != "projection_dim"} | {
    "model_type": "siglip_vision_model", "vision_use_head": False,
}  # fmt: skip
PINPOINTS = [[12, 24], [24, 12], [24, 24], [12, 36]]
CASES = (
    Case("What is <image> this?", (picture(1),)),
    Case("What is <image> this?", (picture(2),)),
    Case("<image><image>\nCompare both.", (picture(1, 50, 20), picture(3, 20, 60))),
    Case("A long one: <image>", (picture(4, 70, 21),)),
)
CLASSES = {"llava_next": transformers.LlavaNextForConditionalGeneration,
           "llava_onevision": transformers.LlavaOnevisionForConditionalGeneration}  # fmt: skip


class Pictures(transformers.LlavaOnevisionProcessor):
    """The processor without its part for videos, which needs a further package."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, **more: Any) -> None:
        super().__init__(image_processor, tokenizer, None, **more)

    def __call__(self, images: Any = None, **more: Any) -> Any:
        """Takes all pictures as those of one prompt."""
        return super().__call__([[*images]] if images else None, **more)

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


def made(kind: str, **values: Any) -> Any:
    """Returns a seeded model."""
    is_next = kind == "llava_next"
    more = {"image_token_index": 258} | ({} if is_next else {"video_token_index": 259})
    config = transformers.AutoConfig.for_model(
        kind, text_config={"model_type": "mistral" if is_next else "qwen2", **TEXT}, vision_config=CLIP if is_next else SIGLIP,
        image_grid_pinpoints=PINPOINTS, **more | values,
    )  # fmt: skip
    return seeded(CLASSES[kind]._from_config(config, attn_implementation="eager", dtype=torch.float32))


def processor(kind: str, aspect: str = "anyres_max_9") -> Any:
    if kind == "llava_next":
        sizes = {"size": {"shortest_edge": 12}, "crop_size": {"height": 12, "width": 12}}
        images = LlavaNextImageProcessorPil(image_grid_pinpoints=PINPOINTS, **sizes)
        return transformers.LlavaNextProcessor(
            images, seeing.tokenizer(), patch_size=4, vision_feature_select_strategy="default", num_additional_image_tokens=1
        )
    onevision = LlavaOnevisionImageProcessorPil(image_grid_pinpoints=PINPOINTS, size={"height": 12, "width": 12})
    return Pictures(
        onevision, seeing.tokenizer(), num_image_tokens=9, vision_feature_select_strategy="full", vision_aspect_ratio=aspect
    )


@pytest.mark.heavy
def test_llava_next(tmp_path: Path):
    reference, words = made("llava_next"), processor("llava_next")
    seeing.hold(seeing.saved(reference, words, tmp_path), reference, words, CASES)


@pytest.mark.heavy
@pytest.mark.parametrize("aspect", ["anyres_max_9", "anyres_max_1"])
def test_llava_onevision(tmp_path: Path, aspect: str):
    """With one square at most, tiles are shrunk."""
    reference, words = made("llava_onevision", vision_aspect_ratio=aspect), processor("llava_onevision", aspect)
    seeing.hold(seeing.saved(reference, words, tmp_path), reference, words, CASES)


def test_a_video_of_onevision(tmp_path: Path):
    """Frames that the processor of pictures makes squares of go through the class of transformers."""
    reference, words = made("llava_onevision"), processor("llava_onevision")
    folder, frames = seeing.saved(reference, words, tmp_path), [picture(seed) for seed in (1, 2, 3)]
    seen = seeing.looked(folder, [Case("See <video> there.", frames=tuple(frames))])[0]
    squares = torch.stack([words.image_processor([frame], return_tensors="pt")["pixel_values"][0][0] for frame in frames])
    with torch.inference_mode():
        expected = reference(input_ids=torch.tensor([seen.ids]), pixel_values_videos=squares[None]).logits[0]
    torch.testing.assert_close(seeing.prefill_logits(folder, seen, "torch"), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_resolutions_and_padding_are_those_of_transformers(seed: int):
    from transformers.image_processing_utils import select_best_resolution
    from transformers.models.llava_next.modeling_llava_next import unpad_image

    height, width, rows, columns = torch.randint(1, 90, (4,), generator=torch.Generator().manual_seed(seed)).tolist()
    assert best_resolution((height, width), PINPOINTS) == select_best_resolution((height, width), PINPOINTS)
    grid = torch.arange(rows * columns).view(rows, columns)
    assert torch.equal(grid[without_padding((height, width), (rows, columns))], unpad_image(grid[None], (height, width))[0])
