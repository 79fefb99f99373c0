"""The processors of published models, in the words of their files, are opened with what transformers has without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from workbench.pictures.processor import Processor, check_square

CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
STEPS = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "rescale_factor": 0.00392156862745098,
}
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
QWEN = CLIP | {"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
IDEFICS = STEPS | HALVES | {"do_image_splitting": True, "do_pad": True, "resample": 1, "size": {"longest_edge": 2048}}
UNSTATED = dict.fromkeys(["do_convert_rgb", "do_pan_and_scan", "pan_and_scan_max_num_crops", "pan_and_scan_min_crop_size"])
GEMMA: dict[str, Any] = STEPS | HALVES | UNSTATED | {
    "image_seq_length": 256, "resample": 2, "size": {"height": 896, "width": 896}, "processor_class": "Gemma3Processor",
}  # fmt: skip
PUBLISHED: dict[str, tuple[dict[str, Any], int | None, tuple[int, ...]]] = {
    "llava 1.5": (
        STEPS | CLIP | {"image_processor_type": "CLIPImageProcessor", "crop_size": {"height": 336, "width": 336}, "resample": 3,
                        "do_center_crop": True, "processor_class": "LlavaProcessor", "size": {"shortest_edge": 336}},
        336, (1, 3, 336, 336),
    ),
    "clip of old": (
        CLIP | {"feature_extractor_type": "CLIPFeatureExtractor", "crop_size": 336, "do_center_crop": True, "do_normalize": True,
                "do_resize": True, "resample": 3, "size": 336},
        336, (1, 3, 336, 336),
    ),
    "next": (
        STEPS | CLIP | {"image_processor_type": "LlavaNextImageProcessor", "aspect_ratio_setting": "anyres", "do_pad": True,
                        "crop_size": {"height": 336, "width": 336}, "do_center_crop": True, "image_grid_pinpoints": PINPOINTS,
                        "size": {"shortest_edge": 336}, "resample": 3},
        336, (1, 3, 3, 336, 336),
    ),
    "onevision": (
        STEPS | HALVES | {"image_processor_type": "LlavaOnevisionImageProcessor", "do_pad": True, "resample": 3,
                          "image_grid_pinpoints": [[384, 384], [384, 768], [768, 768]], "size": {"height": 384, "width": 384}},
        384, (1, 2, 3, 384, 384),
    ),
    "qwen 2": (QWEN | {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor"}, None, (48, 1176)),
    "qwen 2.5": (QWEN | {"image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": "Qwen2_5_VLProcessor"}, None,
                 (48, 1176)),
    "gemma 3": (GEMMA | {"image_processor_type": "Gemma3ImageProcessor"}, 896, (1, 3, 896, 896)),
    "gemma 3 fast": (GEMMA | {"image_processor_type": "Gemma3ImageProcessorFast"}, 896, (1, 3, 896, 896)),
    "smolvlm": (IDEFICS | {"image_processor_type": "Idefics3ImageProcessor", "max_image_size": {"longest_edge": 512}}, None,
                (1, 17, 3, 512, 512)),
    "smolvlm 2": (
        IDEFICS | {"image_processor_type": "SmolVLMImageProcessor", "max_image_size": {"longest_edge": 512},
                   "video_sampling": {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 512}}},
        None, (1, 17, 3, 512, 512),
    ),
    "pixtral": (
        STEPS | CLIP | {"image_processor_type": "PixtralImageProcessor", "patch_size": {"height": 16, "width": 16}, "resample": 3,
                        "size": {"longest_edge": 1024}, "processor_class": "PixtralProcessor"},
        None, (1, 3, 80, 112),
    ),
    "mistral 3": (
        STEPS | CLIP | {"image_processor_type": "PixtralImageProcessorFast", "crop_size": None, "data_format": "channels_first",
                        "default_to_square": True, "device": None, "do_center_crop": None, "input_data_format": None,
                        "patch_size": 14, "resample": 3, "return_tensors": None, "size": {"longest_edge": 1540}},
        None, (1, 3, 84, 112),
    ),
    "mllama": (
        STEPS | CLIP | {"image_processor_type": "MllamaImageProcessor", "do_pad": True, "max_image_tiles": 4, "resample": 2,
                        "size": {"height": 560, "width": 560}},
        560, (1, 1, 4, 3, 560, 560),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_processor_is_opened(name: str, tmp_path: Path):
    values, side, shape = PUBLISHED[name]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    picture = Image.new("RGB", (100, 80), (200, 30, 0))
    nested = name.startswith("smolvlm")
    made = Processor(tmp_path).made([[picture]] if nested else [picture], return_tensors="np")
    assert made["pixel_values"].shape == shape
    assert made["pixel_values"].dtype == "float32"
    if side is not None:
        check_square(tmp_path, side)
