"""llama.cpp through its Python binding, from the GGUF file. The binding holds one sequence: a batch is done one by one."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from protocol import Do, Generate, serve


def load(settings: dict[str, Any]) -> tuple[str, Generate, Do]:
    import llama_cpp

    threads = settings["threads"]
    model = llama_cpp.Llama(settings["gguf"], n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)

    def generate(prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        return [list(islice(model.generate(prompt, temp=0.0, top_k=1), new_tokens)) for prompt in prompts]

    def records(work: dict[str, Any]) -> dict[str, Any]:
        grammar = llama_cpp.LlamaGrammar.from_json_schema(json.dumps(work["schema"]), verbose=False)
        how = {"max_tokens": work["new_tokens"], "temperature": 0.0, "grammar": grammar}
        return {"texts": [model.create_completion(item, **how)["choices"][0]["text"] for item in work["items"]]}

    return f"llama-cpp-python {llama_cpp.__version__}", generate, records


if __name__ == "__main__":
    serve(load)
