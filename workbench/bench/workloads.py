"""The measured prompts as token ids: the same for every system, different in every round."""

from __future__ import annotations

import random
from dataclasses import dataclass

FIRST_PLAIN_ID = 300
"""Below it lie the special tokens and single bytes of the models used here."""


@dataclass(frozen=True, slots=True)
class Workload:
    """`num_prompts` prompts of `shared_len + own_len` tokens sent at once, `new_tokens` greedy tokens each.

    The number reported is tokens of kind `counts` per second over the whole call, or its seconds.
    """

    name: str
    num_prompts: int
    own_len: int
    new_tokens: int
    shared_len: int = 0
    counts: str = "generated"

    def prompts(self, vocab_size: int, seed: int) -> list[list[int]]:
        rng = random.Random(f"{self.name}/{seed}")
        shared = random_ids(rng, self.shared_len, vocab_size)
        return [shared + random_ids(rng, self.own_len, vocab_size) for _ in range(self.num_prompts)]

    def figure(self, seconds: float) -> float:
        """Returns the reported number for a call that took `seconds`."""
        if self.counts == "seconds":
            return seconds
        per_prompt = self.new_tokens if self.counts == "generated" else self.own_len + self.shared_len
        return self.num_prompts * per_prompt / seconds

    @property
    def unit(self) -> str:
        return "s" if self.counts == "seconds" else "tok/s"


WORKLOADS = (
    Workload("1 stream", num_prompts=1, own_len=128, new_tokens=64),
    Workload("8 streams", num_prompts=8, own_len=128, new_tokens=64),
    Workload("32 streams", num_prompts=32, own_len=128, new_tokens=64),
    Workload("prefill 8 × 512", num_prompts=8, own_len=512, new_tokens=1, counts="prompt"),
    Workload("32 × (1024 shared + 32 own) → 32", num_prompts=32, own_len=32, new_tokens=32, shared_len=1024, counts="seconds"),
)


def random_ids(rng: random.Random, length: int, vocab_size: int) -> list[int]:
    first = min(FIRST_PLAIN_ID, vocab_size // 2)  # a tiny vocabulary has no more
    return [rng.randrange(first, vocab_size) for _ in range(length)]
