"""The conversation between `workbench.bench.peers` and one system under test: JSON lines over stdin and stdout.

First line in: the settings, `{"gguf": path, "folder": path, "threads": n}`. First line out: `{"ready": version}`, after which
each `{"prompts": [[id, ...], ...], "new_tokens": n}` is answered by `{"seconds": s, "output_ids": [[id, ...], ...]}`.
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


def serve(load: Callable[[dict[str, Any]], tuple[str, Generate]]) -> None:
    """Answer until stdin closes. Libraries that print to stdout go to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    version, generate = load(json.loads(sys.stdin.readline()))
    answer({"ready": version})
    for line in sys.stdin:
        task = json.loads(line)
        began = time.perf_counter()
        output_ids = generate(task["prompts"], task["new_tokens"])
        answer({"seconds": time.perf_counter() - began, "output_ids": output_ids})
