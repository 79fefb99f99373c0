"""The real model answers the same whether steps overlap or not, while requests come and go."""

from __future__ import annotations

import threading

import pytest

import workbench
from workbench.events import StepExecuted
from workbench.kernels.cores import num_processors

PROMPTS = [f"Number {i}: tell me about {word}." for i, word in enumerate(("rivers", "ships", "bread", "stars", "music", "snow"))]
PARAMS = [
    {"temperature": 0.0, "max_new_tokens": 40},
    {"temperature": 0.8, "seed": 5, "max_new_tokens": 25},
    {"temperature": 0.0, "max_new_tokens": 60, "stop": [" the"]},
    {"temperature": 0.0, "max_new_tokens": 30, "regex": "[a-z ]{20,40}"},
    {"temperature": 1.0, "seed": 7, "max_new_tokens": 35, "frequency_penalty": 0.5},
    {"temperature": 0.0, "max_new_tokens": 50, "min_new_tokens": 45},
]


def answers(model: str, *, is_off: bool) -> tuple[list[str], int]:
    """Returns the texts of all prompts, sent from three threads at a time, and the number of steps that were overlapped."""
    with workbench.Engine(model, num_threads=1, disable_overlap_schedule=is_off, random_seed=0) as engine:
        texts = [""] * len(PROMPTS)

        def ask(numbers: range) -> None:
            for i in numbers:
                texts[i] = engine.generate(PROMPTS[i], PARAMS[i])["text"]

        threads = [threading.Thread(target=ask, args=(range(first, len(PROMPTS), 3),)) for first in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        steps = [event for event in engine.log.read()[1] if isinstance(event, StepExecuted)]
        assert engine.get_server_info()["overlap_schedule"] is not is_off
        return texts, sum(step.overlapped_s > 0 for step in steps)


@pytest.mark.skipif(num_processors() < 2, reason="one processor: steps do not overlap")
def test_overlapped_steps_give_the_same_texts(smollm2):
    apart, none = answers(smollm2, is_off=True)
    together, some = answers(smollm2, is_off=False)
    assert together == apart
    assert (none, some > 20) == (0, True)
