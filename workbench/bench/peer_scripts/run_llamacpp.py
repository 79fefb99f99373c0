"""llama.cpp through its Python binding, from the GGUF file. The binding holds one sequence: a batch is done one by one."""

from __future__ import annotations

from itertools import islice
from typing import Any

from protocol import Generate, serve


def load(settings: dict[str, Any]) -> tuple[str, Generate]:
    import llama_cpp

    threads = settings["threads"]
    model = llama_cpp.Llama(settings["gguf"], n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)

    def generate(prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        return [list(islice(model.generate(prompt, temp=0.0, top_k=1), new_tokens)) for prompt in prompts]

    return f"llama-cpp-python {llama_cpp.__version__}", generate


if __name__ == "__main__":
    serve(load)
