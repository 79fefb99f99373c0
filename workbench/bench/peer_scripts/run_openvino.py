"""OpenVINO GenAI's continuous batching pipeline, straight from the GGUF file, prefix caching on."""

from __future__ import annotations

from typing import Any

from protocol import Generate, serve


def load(settings: dict[str, Any]) -> tuple[str, Generate]:
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = True
    scheduler.cache_size = 4
    scheduler.max_num_seqs = 64
    pipeline = genai.ContinuousBatchingPipeline(
        settings["gguf"], scheduler, "CPU", {"INFERENCE_NUM_THREADS": settings["threads"]}
    )

    def generate(prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        config = genai.GenerationConfig(max_new_tokens=new_tokens, min_new_tokens=new_tokens, ignore_eos=True, do_sample=False)
        tensors = [ov.Tensor(np.array([prompt], dtype=np.int64)) for prompt in prompts]
        results = pipeline.generate(tensors, [config] * len(prompts))
        return [list(result.m_generation_ids[0]) for result in results]

    return f"OpenVINO GenAI {genai.__version__}", generate


if __name__ == "__main__":
    serve(load)
