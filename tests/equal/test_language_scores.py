"""The choices methods equal their definitions, computed with transformers, also where option and prompt share a token."""

from __future__ import annotations

import oracle
import pytest
import torch
from native_server import serving

import workbench as sgl
from workbench.hub.find import gguf_path
from workbench.text.chat import facts

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]
CASES = {
    "the capital": ("The capital of France is", [" Paris", " Antidisestablishmentarianism", " London"]),
    "the president": ("Name a US president.", [" Donald Duck", " Millard Fillmore"]),
    "overlapping": ("My favourite dish is", [" a", " a pizza", " a pizza with cheese", " pizza"]),
    "one token shared": ("I would like to go to New", [" York", " York City", " Zealand", " Yorkshire"]),
    "space at the end": ("The opposite of hot is ", ["cold", "warm", "42", "the cold"]),
    "word at the end": ("He said some", ["thing", "one", " more", "where else"]),
    "digits": ("12 + 13 = ", ["25", "2", "26", "255"]),
    "code": ("def f(x):\n    return x", [".y", "[0]", " + 1", "()"]),
    "one option": ("Hello", [" world"]),
}
METHODS = [sgl.token_length_normalized, sgl.greedy_token_selection, sgl.unconditional_likelihood_normalized]


@pytest.fixture(scope="module")
def engine():
    with sgl.Engine("smollm2-135m", quantization="dequant", dtype="float32", max_total_tokens=4_000) as engine:
        yield engine


@pytest.fixture(scope="module")
def address(engine):
    with serving(engine, facts(engine.tokenizer)) as (url, _):
        yield url


@pytest.fixture(scope="module")
def model():
    return oracle.load(gguf_path("smollm2-135m"))


def expected(method, model, tokenizer, prompt, options):
    """Returns the scores by the definition: tokens from the first that any option changes, each option computed alone."""
    encode = lambda text: tokenizer(text)["input_ids"]  # noqa: E731
    own, whole = encode(prompt), [encode(prompt + option) for option in options]
    same = min(next((i for i, (a, b) in enumerate(zip(own, ids, strict=False)) if a != b), len(own)) for ids in whole)
    scores = [oracle.prompt_logprobs(model, tuple(ids))[same - 1 :] for ids in whole]
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    if method is sgl.token_length_normalized:
        return [mean(score) for score in scores]
    if method is sgl.greedy_token_selection:
        longest = max(map(len, scores))
        return [(*score, *[mean(score)] * (longest - len(score))) for score in scores]
    start = tokenizer.bos_token_id
    alone = [oracle.prompt_logprobs(model, (start, *ids[same:])) for ids in whole]
    return [mean([a - b for a, b in zip(score, without, strict=True)]) for score, without in zip(scores, alone, strict=True)]


@sgl.function
def choose(s, prompt, options, method):
    s += prompt + sgl.select("x", options, choices_method=method)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_scores_and_decision_are_those_of_the_definition(engine, address, model, method, case):
    prompt, options = CASES[case]
    wanted = expected(method, model, engine.tokenizer, prompt, options)
    for backend in (engine, sgl.RuntimeEndpoint(address)):
        state = choose.run(prompt, options, method, backend=backend)
        scores = state.get_meta_info("x")["scores"]
        assert len(scores) == len(wanted)
        for got, want in zip(scores, wanted, strict=True):
            torch.testing.assert_close(torch.tensor(got), torch.tensor(want), atol=2e-3, rtol=0)
        assert state["x"] == options[max(range(len(options)), key=lambda i: wanted[i])]


def test_the_weaknesses_of_the_methods_are_those_the_manual_names(engine):
    """A long option with certain tokens wins by its mean; a bad option with a likely first token wins the greedy way."""
    long_wins = choose.run(*CASES["the capital"], sgl.token_length_normalized, backend=engine)
    assert long_wins["x"] in CASES["the capital"][1]
    first = choose.run("Name a US president.", [" Donald Duck", " Millard Fillmore"], sgl.greedy_token_selection, backend=engine)
    assert first["x"] == " Donald Duck"


def test_the_boundary_is_healed_for_every_option(engine):
    """The text "... is " ends in a token that " cold" does not have: the options are scored from the word before it."""
    prompt, options = CASES["space at the end"]
    meta = choose.run(prompt, options, sgl.token_length_normalized, backend=engine).get_meta_info("x")
    assert len(meta["choice_token_logprobs"][0]) == len(engine.tokenizer(" cold")["input_ids"])
