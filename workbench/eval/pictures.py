"""One prompt with a picture, here and in transformers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from workbench.engine.plan import PlannedSeq, StepPlan
from workbench.engine.runner import TorchRunner
from workbench.errors import NotSupported, in_one_line
from workbench.eval.stages import Stage, compare_stages
from workbench.native.media import Shown
from workbench.pictures import image
from workbench.pictures.eyes import Eyes
from workbench.pictures.processor import pillow
from workbench.pictures.reader import Reader
from workbench.pictures.sight import Sight
from workbench.text.tokenizer import Tokenizer
from workbench.types import Segment

WIDTH, HEIGHT = 96, 72
QUESTION = "What is in this picture?"


def drawn() -> bytes:
    """Returns a picture of slopes of colour with a square and noise, as PNG. It is the same each time."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack((across * 2, down * 3, (across + down) % 256), -1).astype(np.uint8)
    pixels[20:40, 30:60] = (230, 30, 30)
    pixels ^= np.random.default_rng(0).integers(0, 16, pixels.shape, dtype=np.uint8)
    out = io.BytesIO()
    pillow().fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


def picture_stages(
    runner: TorchRunner, theirs: Any, folder: Path, sight: Sight, tokenizer: Tokenizer, picture: bytes
) -> list[Stage]:
    """Returns the stages of a prompt with a picture; the first is the share of tokens that differ, which ends the comparison.

    Raises NotSupported where transformers has no processor for the folder.
    """
    text = f"{sight.placeholder}{QUESTION}"
    seen = Eyes(sight, Reader(None)).prompt(text, [Shown("image", picture)], tokenizer.encode, is_local=True)
    inputs = dict(_processor(folder)(text=[text], images=[image.decode(picture)], return_tensors="pt"))
    ids = tuple(inputs["input_ids"][0].tolist())
    if ids != seen.ids:
        same = sum(one == other for one, other in zip(seen.ids, ids, strict=False))
        return [Stage("picture: tokens", float(len(ids) - same), 1 - same / max(len(ids), len(seen.ids)))]
    count = len(ids)
    seq = PlannedSeq(
        1, "picture", ids, 0, (Segment(0, tuple(range(count))),), pictures=seen.pictures, axes=seen.axes,
        is_adapted=any(one.adapts for one in seen.pictures),
    )  # fmt: skip
    if count > runner.kv.num_slots:
        message = f"a prompt with this picture has {count:,} tokens, and {runner.kv.num_slots:,} fit"
        raise NotSupported(message, hint="name a smaller one with --picture")

    def ours() -> Tensor:
        logits: Tensor = runner.model.logits(runner.forward(runner.tensors(StepPlan(1, (seq,), 1)))[-1:])[0].float()
        return logits

    def others() -> Tensor:
        logits: Tensor = theirs(**inputs, logits_to_keep=1).logits[0, -1].float()
        return logits

    stages = compare_stages(runner.model, ours, theirs, others)
    return [Stage(f"picture: {one.name}", one.difference, one.relative) for one in stages]


def _processor(folder: Path) -> Any:
    import transformers

    options: dict[str, Any] = {"backend": "pil", "local_files_only": True, "trust_remote_code": False}
    try:
        return transformers.AutoProcessor.from_pretrained(str(folder), **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        message = f"transformers makes no processor of {folder}: {in_one_line(error)}"
        raise NotSupported(message, hint="fetch the model's folder whole") from error
