"""transformers `generate`, from the GGUF file, bf16. It shares no prefix: a static batch of equal lengths.

Requests of a program come one by one: a call each, a forward pass for each option.
"""

from __future__ import annotations

import os
from typing import Any

from protocol import Do, Generate, independent, serve


def load(settings: dict[str, Any]) -> tuple[str, Generate, Do]:
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

    @torch.inference_mode()
    def mean_logprobs(prompts: list[list[int]], own: list[int]) -> list[float]:
        means = []
        for prompt, count in zip(prompts, own, strict=True):
            logits = model(torch.tensor([prompt]), logits_to_keep=count + 1).logits[0, :-1].float()
            means.append(logits.log_softmax(-1).gather(1, torch.tensor(prompt[-count:])[:, None]).mean().item())
        return means

    def one_by_one(prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        return [generate([prompt], new_tokens)[0] for prompt in prompts]

    tokenizer = transformers.AutoTokenizer.from_pretrained(settings["folder"])
    do = independent(lambda text: tokenizer(text)["input_ids"], one_by_one, mean_logprobs)
    return f"transformers {transformers.__version__}", generate, do


if __name__ == "__main__":
    serve(load)
