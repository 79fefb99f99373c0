"""transformers `generate`, from the GGUF file, bf16. It knows no shared prefix: a static batch of equal lengths."""

from __future__ import annotations

import os
from typing import Any

from protocol import Generate, serve


def load(settings: dict[str, Any]) -> tuple[str, Generate]:
    import torch
    import transformers

    torch.set_num_threads(settings["threads"])
    folder, name = os.path.split(settings["gguf"])
    dtype = getattr(torch, settings["dtype"])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=dtype).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0

    @torch.inference_mode()
    def generate(prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        ids = torch.tensor(prompts)
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new_tokens)
        return out[:, ids.shape[1] :].tolist()

    return f"transformers {transformers.__version__}", generate


if __name__ == "__main__":
    serve(load)
