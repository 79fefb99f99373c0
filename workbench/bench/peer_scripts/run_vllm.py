"""vLLM's CPU build, compiled, from a folder of float32 weights, with automatic prefix caching (its default).

Left alone it keeps one core for itself and warns that Intel's OpenMP is not preloaded; with all cores and that library
it is up to 1.8 times faster on two cores, so that is what is measured.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from protocol import Do, Generate, independent, serve


def load(settings: dict[str, Any]) -> tuple[str, Generate, Do]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{settings['threads'] - 1}")
    import vllm

    engine = vllm.LLM(settings["folder"], dtype=settings["dtype"], max_model_len=2048, max_num_seqs=64, disable_log_stats=True)

    def generate(prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        params = vllm.SamplingParams(
            temperature=0, max_tokens=new_tokens, min_tokens=new_tokens, ignore_eos=True, detokenize=False
        )
        results = engine.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)
        return [list(result.outputs[0].token_ids) for result in results]

    def mean_logprobs(prompts: list[list[int]], own: list[int]) -> list[float]:
        params = vllm.SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        results = engine.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)
        means = []
        for prompt, count, result in zip(prompts, own, results, strict=True):
            tokens = zip(prompt[-count:], result.prompt_logprobs[-count:], strict=True)
            means.append(sum(logprobs[token].logprob for token, logprobs in tokens) / count)
        return means

    def records(work: dict[str, Any]) -> dict[str, Any]:
        form = vllm.sampling_params.StructuredOutputsParams(json=work["schema"])
        params = vllm.SamplingParams(temperature=0, max_tokens=work["new_tokens"], structured_outputs=form)
        return {"texts": [result.outputs[0].text for result in engine.generate(work["items"], params, use_tqdm=False)]}

    tokenizer = engine.get_tokenizer()
    do = independent(lambda text: tokenizer(text)["input_ids"], generate, mean_logprobs)
    return f"vLLM {vllm.__version__}", generate, lambda work: records(work) if work["schema"] else do(work)


def preload_openmp() -> None:
    """Starts again with the library preloaded: it has no effect on a process that already runs."""
    library = Path(sys.prefix) / "lib" / "libiomp5.so"
    if library.exists() and "LD_PRELOAD" not in os.environ:
        os.environ["LD_PRELOAD"] = str(library)
        os.execv(sys.executable, [sys.executable, *sys.argv])


if __name__ == "__main__":
    preload_openmp()
    serve(load)
