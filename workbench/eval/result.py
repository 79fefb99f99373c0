"""The answers of an evaluation, and its numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.lang.state import ProgramState


@dataclass(frozen=True)
class Answer:
    """One question, answered."""

    question: str
    label: str
    predicted: str | None
    """The answer in the text; None: there is none."""
    text: str
    is_right: bool
    subject: str = ""


@dataclass
class Tokens:
    """Token counts of all questions; None: the server reports none."""

    prompt: int = 0
    cached: int | None = 0
    completion: int = 0

    def add(self, state: ProgramState, name: str) -> None:
        meta = state.get_meta_info(name)
        cached = meta.get("cached_tokens")
        self.prompt += meta.get("prompt_tokens") or 0
        self.completion += meta.get("completion_tokens") or 0
        self.cached = None if cached is None or self.cached is None else self.cached + cached


@dataclass
class Result:
    """A finished evaluation."""

    task: str
    backend: str
    answers: list[Answer]
    latency: float
    tokens: Tokens
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        return share([answer.is_right for answer in self.answers])

    @property
    def invalid(self) -> float:
        return share([answer.predicted is None for answer in self.answers])

    @property
    def cache_hit_rate(self) -> float | None:
        """The share of prompt tokens that were reused; None if the server reports none."""
        return None if self.tokens.cached is None else self.tokens.cached / max(self.tokens.prompt, 1)

    def by_subject(self) -> dict[str, float]:
        subjects = dict.fromkeys(answer.subject for answer in self.answers)
        return {each: share([answer.is_right for answer in self.answers if answer.subject == each]) for each in subjects if each}

    def to_text(self) -> str:
        hit_rate = self.cache_hit_rate
        lines = [f"subject: {name}, accuracy: {value:.3f}" for name, value in self.by_subject().items()]
        return "\n".join([
            *lines, f"Accuracy: {self.accuracy:.3f}", f"Invalid: {self.invalid:.3f}", f"Latency: {self.latency:.3f} s",
            f"Questions per second: {len(self.answers) / self.latency:.3f}",
            f"Output throughput: {self.tokens.completion / self.latency:.3f} token/s",
            f"Cache hit rate: {'not reported' if hit_rate is None else f'{hit_rate:.3f}'}",
        ])  # fmt: skip

    def append_to(self, path: Path) -> None:
        """Appends the numbers to a file as one line of JSON, under the reference's keys and a few more."""
        line = {
            "task": self.task, "backend": self.backend, "latency": round(self.latency, 3), "accuracy": round(self.accuracy, 4),
            "num_requests": len(self.answers), "invalid": round(self.invalid, 4), "cache_hit_rate": self.cache_hit_rate,
            "output_throughput": round(self.tokens.completion / self.latency, 3), "subjects": self.by_subject(),
            "other": {"num_questions": len(self.answers), **self.settings},
        }  # fmt: skip
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def share(values: Sequence[bool]) -> float:
    return sum(values) / max(len(values), 1)
