"""The oracle: transformers reads the same GGUF itself, one prompt at a time, greedy, float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from unittest.mock import patch

import gguf as gguf_library
import torch
import transformers

TIE = 1e-4


@dataclass(frozen=True)
class Expected:
    prompt: tuple[int, ...]
    output: tuple[int, ...]
    logprobs: tuple[float, ...]
    gaps: tuple[float, ...]
    """Distance between the two best logits at each step."""


@lru_cache(maxsize=1)
def load(gguf: Path):
    """Returns transformers' model of a file, for all tests of a run: not to be changed."""
    with reading_once():
        return transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()


@contextmanager
def reading_once() -> Iterator[None]:
    """Keeps what transformers parses twice and the table of names that it makes 400 times: most of the time it takes."""
    functions = ("GGUFReader", "get_tensor_name_map")
    with patch.multiple(gguf_library, **{name: lru_cache(getattr(gguf_library, name)) for name in functions}):
        yield


@torch.inference_mode()
def greedy(model, prompt: tuple[int, ...], num_new: int, guess: Sequence[int] = ()) -> Expected:
    """Returns the model's own choice at every position. Each right guess saves a pass, and a wrong one changes nothing."""
    output, logprobs, gaps = [], [], []
    while len(output) < num_new:
        tried = [*output, *guess[len(output) : num_new - 1]]
        num_rows = len(tried) - len(output) + 1  # the rows that follow certain or guessed tokens
        for logits in model(torch.tensor([[*prompt, *tried]]), logits_to_keep=num_rows).logits[0].double():
            best = logits.topk(2)
            output.append(int(best.indices[0]))
            gaps.append(float(best.values[0] - best.values[1]))
            logprobs.append(float(logits.log_softmax(-1)[output[-1]]))
            if len(output) <= len(tried) and tried[len(output) - 1] != output[-1]:
                break  # the rows below follow a token that the model would not choose
    return Expected(tuple(prompt), tuple(output), tuple(logprobs), tuple(gaps))


@lru_cache(maxsize=1000)
@torch.inference_mode()
def prompt_logprobs(model, prompt: tuple[int, ...]) -> list[float]:
    """Returns the log-probability of every prompt token but the first: not to be changed."""
    scores = model(torch.tensor([prompt])).logits[0].double().log_softmax(-1)
    return [float(scores[i, token]) for i, token in enumerate(prompt[1:])]


def differences(got: list[tuple[int, ...]], expected: list[Expected]) -> int:
    """Returns the number of outputs that leave the oracle at a true tie; any other difference fails."""
    ties = 0
    for tokens, want in zip(got, expected, strict=True):
        assert len(tokens) == len(want.output)
        first = next((i for i, pair in enumerate(zip(tokens, want.output, strict=True)) if pair[0] != pair[1]), None)
        if first is not None:
            assert want.gaps[first] < TIE, (
                f"token {first} of prompt of {len(want.prompt)}: {tokens[first]} for {want.output[first]}, gap {want.gaps[first]}"
            )
            ties += 1
    return ties
