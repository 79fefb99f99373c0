"""Holds a model to transformers: greedy texts and logits, or vectors and scores, and the hidden states after each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.bench.one_batch import StaticBatch, last_logits
from workbench.config import ServerArgs
from workbench.engine.encode import Encoder
from workbench.engine.encode_call import PlannedText
from workbench.engine.runner import TorchRunner
from workbench.errors import NotSupported, WorkbenchError, in_one_line, install
from workbench.hub.from_args import find_tokenizer
from workbench.launch.runner import load_runner
from workbench.model.base import Model
from workbench.model.check import check_model
from workbench.model.families.bert import BertModel
from workbench.types import EncodeRequest, Segment

PROMPTS = ("The capital of France is", "Once upon a time there was a fox. One morning it", "def add(a, b):\n    return")
NUM_RANDOM = 12
"""Tokens of a prompt where there is no tokenizer."""
TEXT_HALVES = ("text", "language_model", "text_model")
"""Names of the text half in models that see, here and in transformers."""
CLOSE = 1e-3
"""Largest relative difference that counts as equal: sums in another order, in float32."""


@dataclass(frozen=True)
class Stage:
    """The numbers at one place of the model."""

    name: str
    difference: float
    """Largest difference of two numbers."""
    relative: float
    """Largest difference as a part of the number and of a usual one, so that one huge number hides no other."""

    @property
    def is_close(self) -> bool:
        """True if the difference is what another order of sums makes."""
        return self.relative <= CLOSE


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
        return "\n".join([*lines, "", "equal to transformers" if self.is_equal else "NOT equal to transformers"])


def compare(args: ServerArgs, path: Path, num_new: int) -> Comparison:
    """Compares the model in a folder or GGUF file with transformers, in float32 on the CPU.

    Raises NotSupported where transformers is missing or has no class for it, and what loading raises.
    """
    checked = check_model(path)
    model = checked.family.model(checked.config)
    theirs = open_theirs(path, _kind_of(model))
    tokenizer = _tokenizer(args)
    loaded = load_runner(ServerArgs.make(**args.to_dict() | {"skip_tokenizer_init": True, "is_embedding": not model.makes_text}))
    runner = loaded.runner
    if loaded.encoder is not None:
        return Comparison(tuple(_compare_vectors(loaded.encoder, theirs, tokenizer)), ())
    prompts = [list(tokenizer.encode(text)) for text in PROMPTS] if tokenizer else _random_prompts(runner.vocab_size)
    stages = compare_stages(runner, theirs, prompts[1])
    batch = StaticBatch(runner, prompts, num_new)
    for _ in range(num_new):
        batch.step()
    answers = []
    for prompt, tokens in zip(prompts, batch.tokens, strict=True):
        ids = continue_theirs(theirs, prompt, num_new)
        at = first_other(theirs, prompt, tokens[len(prompt) :])
        texts = [tokenizer.decode(part) if tokenizer else str(part) for part in (prompt, tokens[len(prompt) :], ids)]
        answers.append(Answer(texts[0], texts[1], texts[2], at))
    return Comparison(tuple(stages), tuple(answers))


def _kind_of(model: Model) -> str:
    """Returns the kind of head of transformers' class; empty is none."""
    if not model.makes_text:
        return "SequenceClassification" if model.num_labels else ""
    return "ImageTextToText" if model.sees else "CausalLM"


def _compare_vectors(encoder: Encoder, theirs: Any, tokenizer: Any) -> Iterator[Stage]:
    """Yields the stages of one text, and of each text its vector or scores."""
    model = encoder.model
    if model.is_encoder and not isinstance(model, BertModel):
        what = f"{model.architecture} is computed with tokens that see the whole text, and transformers computes them in order"
        raise NotSupported(what, hint="there is nothing to compare it with")
    prompts = [list(tokenizer.encode(text)) for text in PROMPTS] if tokenizer else _random_prompts(model.vocab_size)
    count = model.config.num_hidden_layers
    with noted(_layers(model, count)) as ours:
        _vector(encoder, prompts[1])
    with noted(_layers(theirs, count)) as others, torch.inference_mode():
        theirs(torch.tensor([prompts[1]]))
    yield from _stages(ours, others)
    what = "scores" if model.num_labels else "vector"
    for i, prompt in enumerate(prompts):
        with torch.inference_mode():
            out = theirs(torch.tensor([prompt]))
            wanted = out.logits[0] if model.num_labels else encoder.vector_of(out.last_hidden_state[0])
        yield stage(f"{what} {i}", _vector(encoder, prompt), wanted)


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
def compare_stages(runner: TorchRunner, theirs: Any, prompt: Sequence[int]) -> Iterator[Stage]:
    """Returns the stages of one prompt: before the first layer, after each, after the last norm, and the logits."""
    plan = StaticBatch(runner, [prompt], 1).plan()
    with noted(_layers(runner.model, runner.model.config.num_hidden_layers)) as ours:
        our_logits = last_logits(runner, plan)[0]
    layers = _layers(theirs, theirs.config.get_text_config().num_hidden_layers)
    with noted(layers) as others:
        logits = theirs(torch.tensor([prompt]), logits_to_keep=1).logits[0, -1]
    return iter([*_stages(ours, others), stage("logits", our_logits, logits)])


def stage(name: str, ours: Tensor, theirs: Tensor) -> Stage:
    apart, size = (ours - theirs).abs(), theirs.abs()
    return Stage(name, float(apart.max()), float((apart / (size + size.median() + 1e-9)).max()))


def _stages(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Iterator[Stage]:
    """Yields the stages that both have: transformers leaves out layers that look at pictures where there is none."""
    assert theirs.keys() <= ours.keys()
    yield from (stage(name, ours[name], rows) for name, rows in theirs.items())


@contextmanager
def noted(layers: nn.ModuleList) -> Iterator[dict[str, Tensor]]:
    """Notes what goes into the first layer and what comes out of each that is called, [T, H], while the block runs."""
    found: dict[str, Tensor] = {}

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        found["embedding"] = _rows(inputs[0])

    def after(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        found[name] = _rows(output)

    each = (layer.register_forward_hook(partial(after, f"layer {i}")) for i, layer in enumerate(layers))
    hooks = [layers[0].register_forward_pre_hook(before), *each]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _rows(output: Any) -> Tensor:
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden.reshape(-1, hidden.shape[-1]).float().clone()


def _layers(model: nn.Module, count: int) -> nn.ModuleList:
    """Returns the list of a model's layers: the first list that has so many modules, in the text half of one that sees."""
    halves = (part for name, part in model.named_modules() if name.rpartition(".")[2] in TEXT_HALVES)
    found = (module for module in next(halves, model).modules() if isinstance(module, nn.ModuleList) and len(module) == count)
    layers = next(found, None)
    if layers is None:
        raise NotSupported(
            f"{type(model).__name__} of transformers has no list of {count} layers", hint="compare its texts alone"
        )
    return layers


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
