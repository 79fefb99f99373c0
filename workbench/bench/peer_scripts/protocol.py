"""The conversation between `workbench.bench.peers` and one system under test: JSON lines over stdin and stdout.

First line in: the settings, `{"gguf": path, "folder": path, "threads": n}`. First line out: `{"ready": version}`, after which
each `{"prompts": [[id, ...], ...], "new_tokens": n}` is answered by `{"seconds": s, "output_ids": [[id, ...], ...]}`, and by
systems that can do it each `{"work": ...}` (`workbench.bench.programs.Work`) by `{"seconds": s}` and `num_tokens`, `choices` or
`texts`.
Standard library only: the scripts of this folder run in other environments, where workbench is not installed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Generate = Callable[[list[list[int]], int], list[list[int]]]
"""(prompts, new tokens) -> output ids; greedy, end tokens ignored, exactly that many tokens."""
Do = Callable[[dict[str, Any]], dict[str, Any]]
"""Work -> `{"num_tokens": [per item]}`, `{"choices": [index per item]}` or `{"texts": [per item]}`."""


def independent(encode: Callable[[str], list[int]], generate: Generate, mean_logprobs: Callable[..., list[float]]) -> Do:
    """Answers work as independent requests: prefix and item together, for a choice once per option.

    `mean_logprobs(prompts, own)` returns the mean log-probability of the last own[i] tokens of prompts[i], for every prompt.
    """

    def do(work: dict[str, Any]) -> dict[str, Any]:
        texts, options = [work["prefix"] + item for item in work["items"]], work["options"]
        if not options:
            return {"num_tokens": [len(ids) for ids in generate([encode(text) for text in texts], work["new_tokens"])]}
        prompts = [(encode(text), encode(option)) for text in texts for option in options]
        scores = mean_logprobs([text + option for text, option in prompts], [len(option) for _, option in prompts])
        rows = [scores[i : i + len(options)] for i in range(0, len(scores), len(options))]
        return {"choices": [max(range(len(row)), key=row.__getitem__) for row in rows]}

    return do


def serve(load: Callable[[dict[str, Any]], tuple[str, Generate] | tuple[str, Generate, Do]]) -> None:
    """Answers until stdin closes. The output of libraries goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    version, generate, *rest = load(json.loads(sys.stdin.readline()))
    answer({"ready": version})
    for line in sys.stdin:
        task = json.loads(line)
        began = time.perf_counter()
        if "work" in task:
            result = rest[0](task["work"])
        else:
            result = {"output_ids": generate(task["prompts"], task["new_tokens"])}
        answer({"seconds": time.perf_counter() - began, **result})
