"""This engine, as a user opens it."""

from __future__ import annotations

from typing import Any

from protocol import Do, Generate, serve

POOL_TOKENS = 16_384
"""A store that the warm-up fills. Left to itself ours grows for gigabytes, and first use of memory is not what is measured
here; vLLM fills its own with zeros before it answers."""


def load(settings: dict[str, Any]) -> tuple[str, Generate, Do]:
    import workbench
    from workbench.bench.programs import Work, do

    args = {"model_path": settings["model"], "dtype": settings["dtype"], "num_threads": settings["threads"]}
    args |= {"max_total_tokens": POOL_TOKENS}
    engine = workbench.Engine(**args, disable_jump_forward=settings.get("disable_jump_forward", False))

    def generate(prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        params = {"temperature": 0, "max_new_tokens": new_tokens, "ignore_eos": True}
        return [result["output_ids"] for result in engine.generate(input_ids=prompts, sampling_params=params)]

    return f"workbench {workbench.__version__}", generate, lambda work: do(Work(**work), engine)


if __name__ == "__main__":
    serve(load)
