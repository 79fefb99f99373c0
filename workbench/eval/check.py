"""Holds a model to transformers: greedy texts and logits, or vectors and scores, and the hidden states after each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.bench.one_batch import StaticBatch, last_logits
from workbench.checkpoint.files import read_config
from workbench.config import ServerArgs
from workbench.engine.encode import Encoder
from workbench.engine.encode_call import PlannedText
from workbench.engine.runner import TorchRunner
from workbench.errors import InvalidRequest, NotSupported, WorkbenchError, in_one_line, install
from workbench.eval.pictures import drawn, picture_stages
from workbench.eval.stages import CLOSE, Stage, compare_stages, layers_of, noted, stage_of, stages_of
from workbench.hub.from_args import find_tokenizer
from workbench.launch.runner import load_runner
from workbench.model.base import CausalLM, Model
from workbench.model.check import check_model
from workbench.model.pooled import Headless
from workbench.pictures.open import open_sight
from workbench.pictures.processor import FILES
from workbench.types import EncodeRequest, Segment

PROMPTS = ("The capital of France is", "Once upon a time there was a fox. One morning it", "def add(a, b):\n    return")
NUM_RANDOM = 12
"""Tokens of a prompt where there is no tokenizer."""


@dataclass(frozen=True)
class Answer:
    """The greedy continuations of one prompt."""

    prompt: str
    ours: str
    theirs: str
    differs_at: int | None
    """Index of the first token of ours that transformers would not choose; None where it chooses all, true ties aside."""


@dataclass(frozen=True)
class Comparison:
    stages: tuple[Stage, ...]
    answers: tuple[Answer, ...]
    notes: tuple[str, ...] = ()
    """Lines about what was not compared."""

    @property
    def is_equal(self) -> bool:
        """True if no number and no text differs."""
        return all(stage.is_close for stage in self.stages) and all(answer.differs_at is None for answer in self.answers)

    def to_text(self) -> str:
        """Returns a table of the stages, the texts, and the verdict."""
        width = max(len(stage.name) for stage in self.stages)
        lines = [f"{'STAGE'.ljust(width)}  DIFFERENCE  RELATIVE"]
        first = next((stage for stage in self.stages if not stage.is_close), None)
        for stage in self.stages:
            mark = "  <- the first that differs" if stage is first else "" if stage.is_close else "  differs"
            lines.append(f"{stage.name.ljust(width)}  {stage.difference:10.2e}  {stage.relative:8.1e}{mark}")
        for answer in self.answers:
            same = "same text" if answer.differs_at is None else f"other text from token {answer.differs_at} on"
            lines += ["", f"{answer.prompt!r}: {same}", f"  here          {answer.ours!r}"]
            lines += [] if answer.differs_at is None else [f"  transformers  {answer.theirs!r}"]
        return "\n".join([*lines, *self.notes, "", "equal to transformers" if self.is_equal else "NOT equal to transformers"])


def compare(args: ServerArgs, path: Path, num_new: int, picture: Path | None = None) -> Comparison:
    """Compares the model in a folder or GGUF file with transformers, in float32 on the CPU.

    One that sees is compared with a picture too, by default one that is drawn. Raises NotSupported where transformers is
    missing or has no class for it, and what loading raises.
    """
    checked = check_model(path)
    model = checked.family.model(checked.config)
    theirs = open_theirs(path, _kind_of(model))
    tokenizer = _tokenizer(args)
    loaded = load_runner(ServerArgs.make(**args.to_dict() | {"skip_tokenizer_init": True, "is_embedding": not model.makes_text}))
    runner = loaded.runner
    if picture is not None and not model.sees:
        raise InvalidRequest("picture", str(picture), f"left out: {model.architecture or checked.entry.title} reads text alone")
    if loaded.encoder is not None:
        return Comparison(tuple(_compare_vectors(loaded.encoder, theirs, tokenizer)), ())
    prompts = [list(tokenizer.encode(text)) for text in PROMPTS] if tokenizer else _random_prompts(runner.vocab_size)
    stages = _text_stages(runner, theirs, prompts[1])
    notes = []
    if model.sees:
        try:
            stages += _picture_stages(runner, theirs, path, checked.entry.sight, tokenizer, picture)
        except NotSupported as error:
            if picture is not None:
                raise
            notes.append(f"no picture is compared: {error.message}")
    batch = StaticBatch(runner, prompts, num_new)
    for _ in range(num_new):
        batch.step()
    answers = []
    for prompt, tokens in zip(prompts, batch.tokens, strict=True):
        ids = continue_theirs(theirs, prompt, num_new)
        at = first_other(theirs, prompt, tokens[len(prompt) :])
        texts = [tokenizer.decode(part) if tokenizer else str(part) for part in (prompt, tokens[len(prompt) :], ids)]
        answers.append(Answer(texts[0], texts[1], texts[2], at))
    return Comparison(tuple(stages), tuple(answers), tuple(notes))


@torch.inference_mode()
def _text_stages(runner: TorchRunner, theirs: Any, prompt: Sequence[int]) -> list[Stage]:
    plan = StaticBatch(runner, [prompt], 1).plan()

    def others() -> Tensor:
        logits: Tensor = theirs(torch.tensor([prompt]), logits_to_keep=1).logits[0, -1]
        return logits

    return compare_stages(runner.model, lambda: last_logits(runner, plan)[0], theirs, others)


def _picture_stages(
    runner: TorchRunner, theirs: Any, path: Path, place: str, tokenizer: Any, picture: Path | None
) -> list[Stage]:
    """Returns the stages of a prompt with a picture. Raises NotSupported where nothing turns one into tokens."""
    if tokenizer is None or not any((path / name).is_file() for name in FILES):
        message = f"{path} lacks a tokenizer, or {FILES[0]}"
        raise NotSupported(message, hint="leave --picture out to compare text alone")
    sight = open_sight(place, path, read_config(path), tokenizer)
    return picture_stages(runner, theirs, path, sight, tokenizer, drawn() if picture is None else picture.read_bytes())


def _kind_of(model: Model) -> str:
    """Returns the kind of head of transformers' class; empty is none."""
    if not model.makes_text:
        return "SequenceClassification" if model.num_labels else ""
    return "ImageTextToText" if model.sees else "CausalLM"


def _compare_vectors(encoder: Encoder, theirs: Any, tokenizer: Any) -> Iterator[Stage]:
    """Yields the stages of one text, and of each text its vector or scores."""
    model = encoder.model
    if model.is_encoder and isinstance(model, Headless | CausalLM):
        what = f"{model.architecture} is computed with tokens that see the whole text, and transformers computes them in order"
        raise NotSupported(what, hint="there is nothing to compare it with")
    prompts = [list(tokenizer.encode(text)) for text in PROMPTS] if tokenizer else _random_prompts(model.vocab_size)
    count = model.config.num_hidden_layers
    with noted(layers_of(model, count)) as ours:
        _vector(encoder, prompts[1])
    with noted(layers_of(theirs, count)) as others, torch.inference_mode():
        theirs(torch.tensor([prompts[1]]))
    yield from stages_of(ours, others)
    what = "scores" if model.num_labels else "vector"
    for i, prompt in enumerate(prompts):
        with torch.inference_mode():
            out = theirs(torch.tensor([prompt]))
            wanted = out.logits[0] if model.num_labels else encoder.vector_of(out.last_hidden_state[0])
        yield stage_of(f"{what} {i}", _vector(encoder, prompt), wanted)


def _vector(encoder: Encoder, ids: Sequence[int]) -> Tensor:
    segments = (Segment(0, tuple(range(len(ids)))),) if encoder.keeps_kv else ()
    found = encoder.encode([PlannedText(EncodeRequest(rid="0", input_ids=tuple(ids)), segments=segments)])
    return torch.frombuffer(bytearray(found), dtype=torch.float32)


def open_theirs(path: Path, kind: str = "CausalLM") -> Any:
    """Returns transformers' model of the same files, in float32, for a kind of head. Never runs code that a folder brings."""
    try:
        import transformers
    except ImportError as error:
        raise NotSupported("models are compared with transformers, which is not installed", hint=install("engine")) from error
    where = {"gguf_file": path.name} if path.is_file() else {}
    try:
        auto = getattr(transformers, f"AutoModelFor{kind}" if kind else "AutoModel")
        model = auto.from_pretrained(
            path.parent if path.is_file() else path, dtype=torch.float32, trust_remote_code=False, local_files_only=True,
            attn_implementation="eager", **where,
        )  # fmt: skip
    except Exception as error:
        message = f"transformers does not open {path}: {in_one_line(error)}"
        raise NotSupported(message, hint="there is nothing to compare it with") from error
    return model.eval()


@torch.inference_mode()
def continue_theirs(theirs: Any, prompt: Sequence[int], num_new: int) -> list[int]:
    """Returns the greedy tokens of transformers."""
    ids = torch.tensor([prompt])
    out: Tensor = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_new, min_new_tokens=num_new, do_sample=False,
        pad_token_id=0,
    )  # fmt: skip
    tokens: list[int] = out[0, len(prompt) :].tolist()
    return tokens


@torch.inference_mode()
def first_other(theirs: Any, prompt: Sequence[int], tokens: Sequence[int]) -> int | None:
    """Returns the index of the first token that is clearly not transformers' choice behind the tokens before it."""
    logits = theirs(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
    chosen = logits.gather(1, torch.tensor(tokens)[:, None])[:, 0]
    worse = (logits.max(1).values - chosen > CLOSE * logits.abs().max()).nonzero()
    return int(worse[0]) if len(worse) else None


def _tokenizer(args: ServerArgs) -> Any:
    try:
        return find_tokenizer(args)
    except WorkbenchError:
        return None


def _random_prompts(vocab_size: int) -> list[list[int]]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randint(0, vocab_size, (NUM_RANDOM,), generator=rng).tolist() for _ in PROMPTS]
