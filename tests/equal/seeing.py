"""Holds a family that sees to its oracle, a class of transformers with its own processor, on a tiny seeded model."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import oracle
import torch
from family import NUM_NEW, open_core
from PIL import Image
from tiny_models import open_runner
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

import workbench
from workbench.attention.registry import BACKENDS
from workbench.engine.plan import PlannedSeq, StepPlan
from workbench.model.load import load_model
from workbench.model.registry import FAMILIES, family_of
from workbench.native.media import Shown
from workbench.pictures.eyes import Eyes, SeenPrompt
from workbench.pictures.open import open_sight
from workbench.pictures.reader import Reader
from workbench.text.tokenizer import Tokenizer, load_tokenizer
from workbench.types import Request, SamplingParams, Segment

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'video' %}<video>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def tokenizer(special: Sequence[str] = ("<image>", "<video>"), template: str = TEMPLATE, **more: Any) -> Any:
    """Returns a tokenizer of transformers with a token for each byte, and the special ones behind them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Backend(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers import decoders

    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in ("<s>", "</s>", *special)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>", chat_template=template, **more
    )


def picture(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """Returns a picture of seeded stripes and noise."""
    noise = torch.randint(0, 255, (height, width, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(noise.numpy())


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def saved(reference: Any, processor: Any, folder: Path, **config: Any) -> Path:
    """Writes a model's folder with its processor's files, as transformers does; `config` replaces keys of config.json."""
    reference.save_pretrained(folder)
    processor.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    if config:
        path = folder / "config.json"
        values = json.loads(path.read_text()) | config
        path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return folder


@dataclass(frozen=True)
class Case:
    """A prompt with its pictures; of a video the list of its frames."""

    text: str
    pictures: tuple[Image.Image, ...] = ()
    frames: tuple[Image.Image, ...] = ()

    @property
    def shown(self) -> list[Shown]:
        videos = [Shown("video", [png(frame) for frame in self.frames])] if self.frames else []
        return [*(Shown("image", png(one)) for one in self.pictures), *videos]


def opened(folder: Path, **options: Any) -> workbench.Engine:
    return workbench.Engine(str(folder), dtype="float32", **{"max_total_tokens": 1024} | options)


class Seen:
    """The oracle of one prompt: transformers' processor and model."""

    def __init__(self, reference: Any, processor: Any, case: Case) -> None:
        given: dict[str, Any] = {"images": [*case.pictures]} if case.pictures else {}
        if case.frames:
            given["videos"] = [[*case.frames]]
        self.inputs = dict(processor(text=[case.text], return_tensors="pt", **given))
        self.ids: tuple[int, ...] = tuple(self.inputs.pop("input_ids")[0].tolist())
        self.inputs.pop("attention_mask", None)
        self._kinds = next((name for name in ("mm_token_type_ids", "token_type_ids") if name in self.inputs), "")
        self._types = self.inputs.pop(self._kinds, None)
        self._reference = reference

    @torch.inference_mode()
    def __call__(self, ids: torch.Tensor, **options: Any) -> Any:
        more = {}
        if self._types is not None:
            tail = ids.shape[1] - self._types.shape[1]
            more[self._kinds] = torch.nn.functional.pad(self._types, (0, tail))
        if (looks := self.inputs.get("cross_attention_mask")) is not None:  # what is written sees what the last token saw
            more["cross_attention_mask"] = torch.cat((looks, looks[:, -1:].expand(-1, ids.shape[1] - looks.shape[1], -1, -1)), 1)
        return self._reference(input_ids=ids, **self.inputs | more, **options)

    @cached_property
    def logits(self) -> torch.Tensor:
        found: torch.Tensor = self(torch.tensor([self.ids])).logits[0]
        return found


def expected(reference: Any, processor: Any, *cases: Case, count: int) -> list[list[int]]:
    """Returns the `count` greedy tokens of the oracle behind each prompt."""
    return [[*oracle.greedy(one, one.ids, count).output] for one in (Seen(reference, processor, case) for case in cases)]


class Placed:
    """The oracle of one prompt of a model that transformers lacks: its text half, with vectors in the places of some tokens."""

    def __init__(self, text: Any, ids: Sequence[int], places: Sequence[int], vectors: torch.Tensor) -> None:
        self.ids = tuple(ids)
        self._text, self._places, self._vectors = text, [*places], vectors

    @torch.inference_mode()
    def __call__(self, ids: torch.Tensor, **options: Any) -> Any:
        x = self._text.get_input_embeddings()(ids).clone()
        x[0, self._places] = self._vectors
        return self._text(inputs_embeds=x, **options)

    @cached_property
    def logits(self) -> torch.Tensor:
        found: torch.Tensor = self(torch.tensor([self.ids])).logits[0]
        return found


def eyes_of(folder: Path) -> tuple[Eyes, Tokenizer]:
    """Returns the eyes of a model's folder, and its tokenizer."""
    words = load_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text())
    return Eyes(open_sight(FAMILIES[family_of(config).architecture].sight, folder, config, words), Reader(None)), words


def looked(folder: Path, cases: Sequence[Case]) -> list[SeenPrompt]:
    """Returns prompts as the engine makes requests of them."""
    eyes, words = eyes_of(folder)
    return [eyes.prompt(case.text, case.shown, words.encode, is_local=True) for case in cases]


def request(rid: str, seen: SeenPrompt, **options: Any) -> Request:
    params = SamplingParams(max_new_tokens=NUM_NEW, temperature=0, ignore_eos=True)
    return Request(rid=rid, input_ids=seen.ids, pictures=seen.pictures, axes=seen.axes, params=params, **options)


def run(core: Any, prompts: Sequence[SeenPrompt]) -> list[tuple[int, ...]]:
    """Runs all prompts at once and returns the tokens of each."""
    for i, seen in enumerate(prompts):
        core.add(request(f"{i}", seen))
    outputs: dict[str, list[int]] = {f"{i}": [] for i in range(len(prompts))}
    while core.has_work:
        for out in core.step():
            outputs[out.rid] += out.token_ids
    return [tuple(tokens) for tokens in outputs.values()]


def prefill_logits(folder: Path, seen: SeenPrompt, backend: str, runner: Any = None) -> torch.Tensor:
    """Returns the logits of a whole prompt in one step."""
    runner, count = runner or open_runner(folder, backend), len(seen.ids)
    seq = PlannedSeq(
        1, "a", seen.ids, 0, (Segment(0, tuple(range(count))),), pictures=seen.pictures, axes=seen.axes,
        is_adapted=any(picture.adapts for picture in seen.pictures),
    )  # fmt: skip
    with torch.inference_mode():
        return runner.model.logits(runner.forward(runner.tensors(StepPlan(1, (seq,), 1)))).float()


def hold(folder: Path, reference: Any, processor: Any, cases: Sequence[Case]) -> None:
    """Asserts that a model which sees equals the oracle: the ids of prompts, logits of a prefill within 1e-4 on each attention
    backend, and 24 greedy tokens alone, in a batch, with a warm cache, and in chunks of 7. The first two cases are to differ in
    their pictures alone."""
    wanted = [Seen(reference, processor, case) for case in cases]
    prompts = looked(folder, cases)
    assert [seen.ids for seen in prompts] == [one.ids for one in wanted]
    hold_prompts(folder, prompts, wanted)


def hold_prompts(folder: Path, prompts: Sequence[SeenPrompt], wanted: Sequence[Any]) -> None:
    """Does so for prompts whose ids were compared; `wanted` are oracles with `ids`, `logits` and a call for more tokens."""
    for backend in BACKENDS:
        torch.testing.assert_close(prefill_logits(folder, prompts[0], backend), wanted[0].logits, rtol=1e-4, atol=1e-4)
    expected = [oracle.greedy(one, one.ids, NUM_NEW) for one in wanted]
    assert prompts[0].ids == prompts[1].ids
    assert (wanted[0].logits[-1] - wanted[1].logits[-1]).abs().max() > 1e-3, "the pictures make no difference"
    model = load_model(folder, dtype=torch.float32, device=torch.device("cpu"))
    together = open_core(model, sees=True)
    cold, warm = run(together, prompts), run(together, prompts)
    chunked = run(open_core(model, sees=True, chunked_prefill_size=7), prompts)
    alone = [run(open_core(model, sees=True), [one])[0] for one in prompts]
    for got in (cold, warm, chunked, alone):
        assert oracle.differences(got, expected) <= 1
