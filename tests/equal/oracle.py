"""The oracle: transformers reading the same GGUF itself, one prompt at a time, greedy, float32."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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


def load(gguf: Path):
    return transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()


@torch.inference_mode()
def greedy(model, prompt: tuple[int, ...], num_new: int) -> Expected:
    output, logprobs, gaps, past = [], [], [], None
    ids = torch.tensor([prompt])
    for _ in range(num_new):
        out = model(ids, past_key_values=past, use_cache=True, logits_to_keep=1)
        past, logits = out.past_key_values, out.logits[0, -1].double()
        best = logits.topk(2)
        output.append(int(best.indices[0]))
        gaps.append(float(best.values[0] - best.values[1]))
        logprobs.append(float(logits.log_softmax(-1)[output[-1]]))
        ids = torch.tensor([[output[-1]]])
    return Expected(tuple(prompt), tuple(output), tuple(logprobs), tuple(gaps))


@torch.inference_mode()
def prompt_logprobs(model, prompt: tuple[int, ...]) -> list[float]:
    """Of every prompt token but the first."""
    scores = model(torch.tensor([prompt])).logits[0].double().log_softmax(-1)
    return [float(scores[i, token]) for i, token in enumerate(prompt[1:])]


def differences(got: list[tuple[int, ...]], expected: list[Expected]) -> int:
    """Number of outputs that leave the oracle at a true tie; any other difference fails."""
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
