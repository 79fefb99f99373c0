"""The engine gives transformers' tokens for the real models, whatever the cache, the batch, the chunks and the memory do."""

from __future__ import annotations

import random
from pathlib import Path

import family as on_one_model
import oracle
import pytest
import torch

from workbench.engine.core import EngineCore
from workbench.events import RequestRetracted
from workbench.hub.find import gguf_path
from workbench.model.load import load_model
from workbench.text.tokenizer import load_tokenizer
from workbench.types import Request, SamplingParams

pytestmark = pytest.mark.timeout(1200)  # the oracle is slow on a busy machine
NUM_NEW = 8
MODELS = [pytest.param("smollm2-135m", id="smollm2"), pytest.param("gemma3-270m", id="gemma3", marks=pytest.mark.slow)]
CHATS = [
    "Name a river.",
    "What is 17 times 23?",
    "Write a haiku about autumn.",
    "Explain recursion to a child.",
    "Translate 'good morning' to French.",
]
CODE = [
    "def fibonacci(n):\n    ",
    "SELECT name FROM users WHERE ",
    "#include <stdio.h>\nint main() {\n",
    "for i in range(10):\n    print(",
    "class Stack:\n    def __init__(self):\n",
]
UNICODE = [
    "Привет, как дела?",
    "こんにちは、世界。",
    "naïve café — “quoted” ½",
    "🦊🐻 went to the 🏔️",
    "مرحبا بالعالم",
    "数学の問題:",
]
PLAIN = [
    "The",
    "Once upon a time",
    "1, 2, 3, 4,",
    "The capital of France is",
    "A list of colours:\n- red\n-",
    "Q: Who wrote Hamlet?\nA:",
]


def prompts_of(tokenizer) -> list[tuple[int, ...]]:
    """Returns thirty prompts and more: chat, code, unicode, and lengths from 1 to 1,500 tokens; some begin alike."""
    prompts = [tokenizer.encode(text) for text in [*CODE, *UNICODE, *PLAIN]]
    if tokenizer.hf.chat_template:
        prompts += [tokenizer.chat_ids([{"role": "user", "content": text}]) for text in CHATS]
    else:
        prompts += [tokenizer.encode(f"Question: {text}\nAnswer:") for text in CHATS]
    book = tokenizer.encode(
        " ".join(
            f"Chapter {i}: the {word} of the {other}."
            for i in range(90)
            for word in ("fox", "sea", "old king")
            for other in ("hill", "north")
        )
    )
    prompts += [(prompts[0] or book)[:1]] + [book[:length] for length in (33, 64, 100, 257, 511, 700, 1500)]
    rng = random.Random(0)
    return prompts + [tuple(rng.randrange(300, 40000) for _ in range(length)) for length in (2, 17, 48)]


@pytest.fixture(scope="module", params=MODELS)
def family(request):
    """(model, tokenizer, expected outputs, oracle) of one family, all in float32."""
    alias = request.param
    folder = Path(request.getfixturevalue({"smollm2-135m": "smollm2", "gemma3-270m": "gemma3"}[alias]))
    reference = oracle.load(gguf_path(alias))
    tokenizer, model = load_tokenizer(folder), load_model(folder, dtype=torch.float32, device=torch.device("cpu"))
    prompts = prompts_of(tokenizer)
    assert len(prompts) >= 30
    guesses = run(open_core(model, num_slots=16384), prompts)
    expected = [oracle.greedy(reference, prompt, NUM_NEW, guess) for prompt, guess in zip(prompts, guesses, strict=True)]
    return model, tokenizer, expected, reference


def open_core(model, num_slots=8192, **config) -> EngineCore:
    return on_one_model.open_core(model, num_slots, **{"context_length": 2048} | config)


def run(core, prompts) -> list[tuple[int, ...]]:
    return on_one_model.run(core, prompts, NUM_NEW)


def agree(core, expected) -> None:
    """Asserts that all prompts at once give the tokens of the oracle."""
    same(run(core, [want.prompt for want in expected]), expected)


def same(got, expected) -> None:
    ties = oracle.differences(got, expected)
    assert ties <= 1, f"{ties} ties among {len(expected)} prompts are more than chance"


def test_what_the_oracle_says_does_not_depend_on_the_guess(family):
    _, _, expected, reference = family
    for want in expected[:2]:
        plain = oracle.greedy(reference, want.prompt, NUM_NEW)
        for guess in (want.output, (5,) * NUM_NEW, (*want.output[:3], 5, *want.output[4:])):
            guessed = oracle.greedy(reference, want.prompt, NUM_NEW, guess)
            assert guessed.output == plain.output
            assert guessed.logprobs == pytest.approx(plain.logprobs, abs=1e-4)


def test_alone_cold_and_warm_equal_transformers(family):
    """Every second prompt: all of them are in one batch below."""
    model, _, expected, _ = family
    expected = expected[::2]
    core = open_core(model, num_slots=16384)
    for _ in range(2):  # the second time around every prompt is in the cache
        same([run(core, [want.prompt])[0] for want in expected], expected)


def test_one_batch_of_all_prompts_equals_transformers_cold_and_warm(family):
    model, _, expected, _ = family
    core = open_core(model, num_slots=16384)
    agree(core, expected)
    agree(core, expected)


def test_mixed_chunks_and_larger_pages_equal_transformers(family):
    model, _, expected, _ = family
    agree(open_core(model, enable_mixed_chunk=True, page_size=16, chunked_prefill_size=200), expected)


@pytest.mark.parametrize("chunk", [1, 7])
def test_tiny_chunks_equal_transformers_on_short_prompts(family, chunk):
    model, _, expected, _ = family
    short = [want for want in expected if len(want.prompt) <= (16 if chunk == 1 else 64)]
    assert len(short) > 10
    agree(open_core(model, chunked_prefill_size=chunk), short)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 7])
def test_tiny_chunks_equal_transformers_on_every_prompt(family, chunk):
    model, _, expected, _ = family
    agree(open_core(model, chunked_prefill_size=chunk), expected)


def test_retracted_requests_continue_as_transformers_would(family):
    model, _, expected, _ = family
    short = [want for want in expected if len(want.prompt) <= 64]
    core = open_core(model, num_slots=160, context_length=160, schedule_conservativeness=0.01)
    agree(core, short)
    assert any(isinstance(event, RequestRetracted) for event in core.log.read()[1]), "the pool was meant to be too small"


def test_logprobs_of_prompt_and_output_are_those_of_transformers(family):
    model, _tokenizer, expected, reference = family
    some = [want for want in expected if 2 <= len(want.prompt) <= 300][::2]
    core = open_core(model, chunked_prefill_size=100)
    params = SamplingParams(max_new_tokens=NUM_NEW, temperature=0, ignore_eos=True)
    for i, want in enumerate(some):
        core.add(
            Request(
                rid=f"{i}", input_ids=want.prompt, params=params, return_logprob=True, logprob_start_len=0, top_logprobs_num=3
            )
        )
    prompt: dict[str, list] = {f"{i}": [] for i in range(len(some))}
    output: dict[str, list] = {f"{i}": [] for i in range(len(some))}
    while core.has_work:
        for out in core.step():
            prompt[out.rid] += out.prompt_logprobs
            output[out.rid] += out.logprobs
    for i, want in enumerate(some):
        got = [entry.logprob for entry in prompt[f"{i}"]]
        torch.testing.assert_close(
            torch.tensor(got), torch.tensor(oracle.prompt_logprobs(reference, want.prompt)), rtol=0, atol=1e-3
        )
        for entry, token, logprob in zip(output[f"{i}"], want.output, want.logprobs, strict=True):
            if entry.token_id != token:
                break  # a tie: counted in the tests above
            assert entry.logprob == pytest.approx(logprob, abs=1e-3)
            assert entry.top[0] == pytest.approx((entry.logprob, token))
            assert len(entry.top) == 3
