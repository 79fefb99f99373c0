"""A program registers a model of its own and serves it: the example of the page "Add a model"."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import torch
import transformers

from workbench.model.tiny import TINY_LLAMA

EXAMPLE = Path(__file__).parents[2] / "docs/examples/my_model.py"
PAGE = Path(__file__).parents[2] / "docs/add-a-model.md"
PROMPT = [5, 17, 200, 33, 9]


def test_the_example_serves_its_model_and_equals_transformers(server_process, tmp_path):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**TINY_LLAMA | {"tie_word_embeddings": False})
    model = transformers.LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    own = {"architectures": ["MyForCausalLM"], "model_type": "mine", "embedding_scale": 0.25}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    plain = model.generate(torch.tensor([PROMPT]), max_new_tokens=12, do_sample=False, eos_token_id=None)[0].tolist()
    with torch.inference_mode():
        model.model.embed_tokens.weight *= 0.25
    scaled = model.generate(torch.tensor([PROMPT]), max_new_tokens=12, do_sample=False, eos_token_id=None)[0].tolist()
    assert scaled != plain
    arguments = ("--model-path", str(tmp_path), "--dtype", "float32", "--skip-tokenizer-init", "--max-total-tokens", "512")
    server = server_process(*arguments, program=[str(EXAMPLE)])
    params = {"max_new_tokens": 12, "temperature": 0, "ignore_eos": True}
    answer = httpx.post(f"{server.url}/generate", json={"input_ids": PROMPT, "sampling_params": params}, timeout=60).json()
    server.close()
    assert (answer.get("output_ids") or answer["token_ids"]) == scaled[len(PROMPT) :]


def test_the_page_shows_lines_of_the_example():
    shown = PAGE.read_text().split("```python\n")[1].split("```")[0]
    assert [line for line in shown.splitlines() if line and line not in EXAMPLE.read_text()] == []
