"""Holds a family to its oracle, a class of transformers or plain torch, on a tiny seeded model: logits, and greedy outputs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import oracle
import torch
import transformers
from tiny_models import logits_of, open_runner, planned
from torch import Tensor

from workbench.attention.registry import BACKENDS, create_backend, create_store
from workbench.engine.core import EngineCore
from workbench.engine.runner import TorchRunner
from workbench.engine.sampler import Sampler
from workbench.model.base import CausalLM
from workbench.model.load import load_model
from workbench.testing import make_core
from workbench.types import Request, SamplingParams, Segment

VOCAB, NUM_NEW = 320, 24
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
"""The base of a tiny config."""
Oracle = Any
"""A model of transformers, or a module of the same interface: `oracle(ids, logits_to_keep=n).logits`."""


def tokens_of(seed: int, count: int) -> tuple[int, ...]:
    return tuple(torch.randint(0, VOCAB, (count,), generator=torch.Generator().manual_seed(seed)).tolist())


SHARED = tokens_of(1, 40)
PROMPTS = (SHARED + tokens_of(2, 9), SHARED + tokens_of(3, 21), tokens_of(4, 3), tokens_of(5, 61))
"""Two that share a prefix, a short one and a long one."""


def seeded(model: Oracle, std: float = 0.15) -> Oracle:
    """Returns the oracle with seeded weights, biases and norms too, so that none is neutral. Changes: it is in eval mode."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        centre = 1.0 if "norm" in name and name.endswith("weight") and parameter.dim() == 1 else 0.0
        torch.nn.init.normal_(parameter, centre, std)
    return model.eval()


def made(model_type: str, **values: Any) -> Oracle:
    """Returns transformers' model of this type with seeded weights, in float32."""
    config = transformers.AutoConfig.for_model(model_type, **(SIZES | values))
    return seeded(transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32))


def written(model: Oracle, folder: Path, architecture: str | None = None, **options: Any) -> Path:
    """Writes a model of transformers as its own folder; `options` are those of `save_pretrained`."""
    model.save_pretrained(folder, **options)
    return folder if architecture is None else restyled(folder, architectures=[architecture])


def restyled(folder: Path, **values: Any) -> Path:
    """Changes keys of a folder's config.json; those of the value None go."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None or key not in values}))
    return folder


@torch.inference_mode()
def logits(model: Oracle, tokens: tuple[int, ...]) -> Tensor:
    found: Tensor = model(torch.tensor([tokens])).logits[0]
    return found


def hold(folder: Path, reference: Oracle) -> None:
    """Asserts that the model of a folder equals the oracle: logits of a prefill within 1e-4 on each attention backend, and 24
    greedy tokens alone, in a batch, with a warm cache, and in chunks of 7."""
    prompt = PROMPTS[3]
    expected = logits(reference, prompt)
    for backend in BACKENDS:
        whole = planned(1, list(prompt), 0, len(prompt), [Segment(0, tuple(range(len(prompt))))])
        torch.testing.assert_close(logits_of(open_runner(folder, backend), whole), expected, rtol=1e-4, atol=1e-4)
    model = load_model(folder, dtype=torch.float32, device=torch.device("cpu"))
    wanted = [oracle.greedy(reference, one, NUM_NEW) for one in PROMPTS]
    together = open_core(model)
    cold, warm = run(together, PROMPTS), run(together, PROMPTS)
    chunked = run(open_core(model, chunked_prefill_size=7), PROMPTS)
    alone = [run(open_core(model), [one])[0] for one in PROMPTS]
    for got in (cold, warm, chunked, alone):
        assert oracle.differences(got, wanted) <= 1


def matters(reference: Oracle, **without: Any) -> None:
    """Asserts that the oracle's logits change where keys of its config have other values: the comparison can fail."""
    config = reference.config.to_dict() | without
    config.pop("model_type")
    other = type(reference)(type(reference.config)(**config)).eval()
    other.load_state_dict(reference.state_dict(), strict=False)
    other.set_attn_implementation("eager")
    difference = (logits(other, PROMPTS[3]) - logits(reference, PROMPTS[3])).abs().max()
    assert difference > 1e-2, f"{without} changes the logits by {difference:.1e} only"


def open_core(model: CausalLM, num_slots: int = 1024, **config: Any) -> EngineCore:
    kv = create_store(model.attention_specs(), num_slots, torch.float32, torch.device("cpu"))
    runner = TorchRunner(model, kv, create_backend("torch", kv), Sampler(model.vocab_size))
    sizes = {"vocab_size": model.vocab_size, "num_embeddings": model.num_embeddings}
    values = {"num_tokens": num_slots, "context_length": 512, "chunked_prefill_size": 512, **sizes}
    return make_core(runner=runner, clock=time.monotonic, **values | config)


def run(core: EngineCore, prompts: Any, num_new: int = NUM_NEW) -> list[tuple[int, ...]]:
    """Runs all prompts at once and returns the tokens of each."""
    params = SamplingParams(max_new_tokens=num_new, temperature=0, ignore_eos=True)
    for i, prompt in enumerate(prompts):
        core.add(Request(rid=f"{i}", input_ids=prompt, params=params))
    outputs: dict[str, list[int]] = {f"{i}": [] for i in range(len(prompts))}
    while core.has_work:
        for out in core.step():
            outputs[out.rid] += out.token_ids
    return [tuple(tokens) for tokens in outputs.values()]
