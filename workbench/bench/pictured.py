"""A small seeded model that sees, here and in transformers: prompts with one picture each, for `bench.families`."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from workbench.api.engine import Engine
from workbench.bench.workloads import random_ids

IMAGE = 3
"""Id of the token of pictures, below those of `random_ids`."""
AT = 4
"""Place of the picture in a prompt."""
Prompts = list[list[int]]


def is_crossed(config: Any) -> bool:
    """Returns whether the text looks at pictures in layers of cross attention."""
    return bool(config.model_type == "mllama")


def num_tokens_of(config: Any) -> int:
    """Returns the number of tokens of a picture."""
    tower = config.vision_config
    return 1 if is_crossed(config) else int((tower.image_size // tower.patch_size) ** 2)


def write_processor(folder: Path, config: Any) -> None:
    """Writes what reading pictures needs beside a model: its processor, and a tokenizer of single numbers."""
    from tokenizers import AddedToken, Tokenizer, models
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    side, vocab_size = config.vision_config.image_size, config.text_config.vocab_size
    square = {"height": side, "width": side}
    made: Any = (
        MllamaImageProcessorPil(size=square, max_image_tiles=config.vision_config.max_num_tiles)
        if is_crossed(config)
        else (CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=square))
    )
    made.save_pretrained(folder)
    words = {"<image>" if i == IMAGE else f"w{i}": i for i in range(vocab_size)}
    backend = Tokenizer(models.WordLevel(words, unk_token="w0"))
    backend.add_special_tokens([AddedToken("<image>", special=True, normalized=False)])
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="w0").save_pretrained(folder)


class Pictures:
    """The pictures of prompts, one each: seeded noise, as the bytes of a PNG, made before they are measured."""

    def __init__(self, side: int) -> None:
        self._side = side
        self._made: dict[tuple[int, ...], bytes] = {}

    def prepare(self, prompts: Prompts) -> None:
        """Makes the pictures of these prompts, and drops others."""
        self._made = {tuple(prompt): self._png(random.Random(str(prompt))) for prompt in prompts}

    def of(self, prompts: Prompts) -> list[bytes]:
        return [self._made[tuple(prompt)] for prompt in prompts]

    def _png(self, rng: random.Random) -> bytes:
        small = Image.frombytes("RGB", (self._side // 8, self._side // 8), rng.randbytes((self._side // 8) ** 2 * 3))
        buffer = io.BytesIO()
        small.resize((self._side * 3 // 2, self._side)).save(buffer, format="PNG")
        return buffer.getvalue()


def pictured_prompts(rng: random.Random, count: int, length: int, num_tokens: int, vocab_size: int) -> Prompts:
    """Returns prompts that have so many tokens with their picture's, for which there is one."""
    prompts = [random_ids(rng, length - num_tokens, vocab_size) for _ in range(count)]
    return [[*prompt[:AT], IMAGE, *prompt[AT:]] for prompt in prompts]


def writer(engine: Engine, pictures: Pictures) -> Any:
    def write(prompts: Prompts, new: int) -> None:
        params = {"temperature": 0, "max_new_tokens": new, "ignore_eos": True}
        engine.generate(input_ids=prompts, sampling_params=params, image_data=pictures.of(prompts))

    return write


def their_writer(model: Any, folder: Path, pictures: Pictures) -> Any:
    num_tokens = num_tokens_of(model.config)
    processor = transformers.AutoImageProcessor.from_pretrained(str(folder), backend="pil")

    def opened(data: Sequence[bytes]) -> list[Any]:
        return [Image.open(io.BytesIO(one)).convert("RGB") for one in data]

    @torch.inference_mode()
    def write(prompts: Prompts, new: int) -> None:
        shown = opened(pictures.of(prompts))
        made = dict(processor([[one] for one in shown] if is_crossed(model.config) else shown, return_tensors="pt"))
        made["pixel_values"] = made["pixel_values"].to(model.dtype)
        ids = torch.tensor([[*prompt[:AT], *[IMAGE] * num_tokens, *prompt[AT + 1 :]] for prompt in prompts])
        if is_crossed(model.config):  # text behind a picture looks at all of its tiles
            made.pop("num_tiles", None)
            looks = torch.ones(*ids.shape, 1, made["pixel_values"].shape[2], dtype=torch.int64)
            looks[:, :AT] = 0
            made["cross_attention_mask"] = looks * made["aspect_ratio_mask"][:, None]
        lengths = {"max_new_tokens": new, "min_new_tokens": new}
        model.generate(ids, **made, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0, **lengths)

    return write
