"""A GGUF file of a real model: the weights, the logits and the tokens that transformers has from the same file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from oracle import load
from tiny_models import logits_of, open_runner, planned
from transformers import AutoConfig, AutoTokenizer
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from workbench.bench.hf_folder import tensors_of
from workbench.hub.find import gguf_path
from workbench.model.gguf import llama3_divisors
from workbench.text.tokenizer import load_tokenizer
from workbench.types import Segment

TEXTS = [
    "Hello world",
    "The year is 2024, pi is 3.14159.",
    "  two spaces\n\n\nand\ttabs   ",
    "日本語のテキスト 🎉👩‍👩‍👧 ñandú",
    "def f(x):\n    return x ** 2  # comment\n",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<start_of_turn>user\n<table><b>x</b></table><end_of_turn>",
    "I'm you're we'll DON'T",
    "a" * 300,
    "",
    " ",
    "\x00\x01\x7f",
]


def same_weights_and_logits(path: Path, num_tokens: int) -> None:
    """Asserts that every weight is equal to the last bit, and every output up to the order of sums."""
    theirs = load(path)
    weights = theirs.state_dict()
    ours = tensors_of(path)
    assert ours.keys() | {"lm_head.weight"} == weights.keys()
    for name, weight in ours.items():
        assert torch.equal(weight, weights[name]), name
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, theirs.config.vocab_size, (num_tokens,), generator=generator).tolist()
    with torch.inference_mode():
        expected = theirs(torch.tensor([tokens])).logits[0]
    got = logits_of(open_runner(path, "torch"), planned(1, tokens, 0, num_tokens, [Segment(0, tuple(range(num_tokens)))]))
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=2e-3)


@pytest.mark.slow  # transformers takes half a minute to read the file; tests/unit/model does the same with tiny ones
@pytest.mark.model
@pytest.mark.parametrize("alias, num_tokens", [("smollm2-135m", 300), ("gemma3-270m", 600)])  # longer than Gemma's window of 512
def test_a_real_file_equals_what_transformers_reads(alias: str, num_tokens: int):
    same_weights_and_logits(gguf_path(alias), num_tokens)


@pytest.mark.model
def test_the_tokenizer_of_smollm2_equals_the_one_of_transformers_but_for_numerals(smollm2: str):
    """transformers does not support the pre-tokenizer `smollm`, which cuts numerals singly; all else is equal."""
    gguf = gguf_path("smollm2-135m")
    theirs = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    ours = load_tokenizer(smollm2).hf
    for text in TEXTS:
        assert ours(text).input_ids == theirs(text).input_ids, text
        assert ours.decode(ours(text).input_ids) == text
    assert ours.tokenize("a ½") == ["a", "Ġ", "Â½"]
    assert theirs.tokenize("a ½") != ours.tokenize("a ½")
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "chat_template"):
        assert getattr(ours, name) == getattr(theirs, name), name
    messages = [{"role": "user", "content": "Name a river."}]
    rendered = ours.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered.endswith("<|im_start|>user\nName a river.<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.slow
@pytest.mark.model
def test_the_tokenizer_of_gemma3_equals_the_one_of_transformers(gemma3: str):
    gguf = gguf_path("gemma3-270m")
    theirs = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    ours = load_tokenizer(gemma3).hf
    model, same = (json.loads(tokenizer.backend_tokenizer.to_str())["model"] for tokenizer in (ours, theirs))
    assert model == same, "vocabulary, merges and options"
    for text in [*TEXTS, "½² Ⅷ ٣"]:
        assert ours(text).input_ids == theirs(text).input_ids, text
        assert ours(text).input_ids[0] == ours.bos_token_id
        assert ours.decode(ours(text).input_ids, skip_special_tokens=False) == f"<bos>{text}"
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.chat_template is None


@pytest.mark.parametrize("factor, theta", [(8.0, 500_000.0), (32.0, 500_000.0)])
def test_llama_3_divisors_are_those_of_transformers(factor: float, theta: float):
    scaling = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling |= {"original_max_position_embeddings": 8192, "rope_theta": theta}
    config = AutoConfig.for_model("llama", head_dim=128, max_position_embeddings=131072, rope_parameters=scaling)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = theta ** (-torch.arange(64, dtype=torch.float64) / 64)
    expected = (plain / scaled.double()).numpy()
    assert llama3_divisors(scaling, theta, 64) == pytest.approx(expected, rel=1e-5)
