"""Token detail of the real model equals a softmax over transformers' logits, and a scan of the vocabulary for the mask."""

from __future__ import annotations

import math

import oracle
import pytest
import torch

import workbench
from workbench.events import TokenSampled
from workbench.grammar import Vocabulary
from workbench.hub.find import gguf_path

pytestmark = pytest.mark.timeout(1200)
TYPE = r"(?:yes|no), (?:red|green)ish [0-9]{3}"
CHOICES = [f"{a}, {b}ish {n:03}" for a in ("yes", "no") for b in ("red", "green") for n in range(1000)]


@pytest.fixture(scope="module")
def engine(smollm2):
    with workbench.Engine(
        smollm2, quantization="dequant", dtype="float32", max_total_tokens=4096, disable_jump_forward=True
    ) as engine:
        yield engine


@pytest.fixture(scope="module")
def reference():
    return oracle.load(gguf_path("smollm2-135m"))


def sampled(engine, rid: str) -> list[TokenSampled]:
    return [event for event in engine.log.read()[1] if isinstance(event, TokenSampled) and event.rid == rid]


@torch.inference_mode()
def distributions(reference, prompt, output) -> torch.Tensor:
    """Returns log-probabilities [T, V] in float64 of each output position."""
    logits = reference(torch.tensor([[*prompt, *output[:-1]]]), logits_to_keep=len(output)).logits[0]
    return logits.double().log_softmax(-1)


@pytest.fixture(scope="module")
def vocabulary(engine) -> Vocabulary:
    return Vocabulary(engine.tokenizer, engine.get_server_info()["vocab_size"], frozenset({engine.tokenizer.eos_token_id}))


def allowed_after(vocabulary: Vocabulary, text: bytes) -> torch.Tensor:
    """Returns bool [V], found by trying each token against every text the pattern matches."""
    wholes = [choice.encode() for choice in CHOICES if choice.encode().startswith(text)]
    rests = {whole[len(text) :] for whole in wholes}
    fits = {rest[:i] for rest in rests for i in range(1, len(rest) + 1)}
    may_end = text in wholes
    return torch.tensor(
        [(piece in fits) or (may_end and i in vocabulary.eos_token_ids) for i, piece in enumerate(vocabulary.pieces)]
    )


def check(event: TokenSampled, logprobs: torch.Tensor, allowed: torch.Tensor | None) -> None:
    detail = event.detail
    assert detail is not None
    shares = logprobs.exp()
    own = logprobs[event.token_id]
    assert detail.drawn == event.token_id
    assert detail.probability == pytest.approx(float(own.exp()), rel=2e-3, abs=1e-6)
    near = float(((logprobs - own).abs() < 1e-3).sum())
    assert abs(detail.rank - 1 - int((logprobs > own).sum())) <= near
    assert detail.entropy == pytest.approx(float(-(shares * logprobs).sum()), rel=1e-3, abs=1e-3)
    for token, share in detail.before:
        assert share == pytest.approx(float(shares[token]), rel=2e-3, abs=1e-6)
    assert [share for _, share in detail.before] == pytest.approx(shares.topk(5).values.tolist(), rel=2e-3, abs=1e-6)
    if allowed is None:
        assert (detail.after, detail.removed, detail.overruled) == ((), 0.0, False)
        return
    assert event.num_allowed == int(allowed.sum())
    left = torch.where(allowed, shares, 0.0)
    assert detail.removed == pytest.approx(float(1 - left.sum()), rel=1e-3, abs=1e-5)
    kept = left / left.sum()
    num = min(5, int(allowed.sum()))
    assert [share for _, share in detail.after][:num] == pytest.approx(kept.topk(num).values.tolist(), rel=5e-3, abs=1e-6)
    assert all(bool(allowed[token]) for token, _ in detail.after)
    gap = float(logprobs.max() - logprobs[allowed].max())
    assert detail.overruled == (gap > 0) or gap < 1e-3


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_batch_of_free_and_constrained_requests(engine, reference, vocabulary, temperature: float) -> None:
    prompts = ["Is the apple red or green? It is", "The capital of France is", "Answer yes or no:"]
    params = {"temperature": temperature, "max_new_tokens": 12, "seed": 7}
    constrained = {**params, "regex": TYPE}
    with engine.token_detail():
        results = engine.generate(prompts, [constrained, params, constrained])
    assert not engine.detail.is_on
    num_overruled = 0
    for prompt, result, is_free in zip(prompts, results, (False, True, False), strict=True):
        ids, output = engine._handle.tokenizer.encode(prompt), result["output_ids"]
        events = sampled(engine, result["meta_info"]["id"])
        assert [event.token_id for event in events] == output
        table = distributions(reference, ids, output)
        text = b""
        for event, logprobs in zip(events, table, strict=True):
            check(event, logprobs, None if is_free else allowed_after(vocabulary, text))
            text += engine.tokenizer.decode([event.token_id], skip_special_tokens=True).encode()
            num_overruled += event.detail.overruled
    assert num_overruled > 0


def test_off_records_none_and_on_changes_no_token(engine) -> None:
    params = {"temperature": 0.8, "seed": 3, "max_new_tokens": 10}
    off = engine.generate("Once upon a time", params)
    with engine.token_detail():
        on = engine.generate("Once upon a time", params)
    assert on["output_ids"] == off["output_ids"]
    assert all(event.detail is None for event in sampled(engine, off["meta_info"]["id"]))
    assert all(event.detail is not None for event in sampled(engine, on["meta_info"]["id"]))


def test_detail_of_a_child_process_with_jump_forward_is_that_of_this_process(smollm2) -> None:
    """The words between the choices are forced: they have no detail, and drawn tokens in front of them keep theirs."""
    told = []
    for process in (False, True):
        with workbench.Engine(smollm2, quantization="dequant", dtype="float32", max_total_tokens=4096, process=process) as engine:
            engine.token_detail(True)
            result = engine.generate("Is the apple red?", {"temperature": 0, "regex": TYPE, "max_new_tokens": 20})
            engine.token_detail(False)
            events = sampled(engine, result["meta_info"]["id"])
            assert result["meta_info"]["forced_tokens"] == sum(event.forced for event in events) > 0
            assert all((event.detail is None) == event.forced for event in events)
            told.append([(e.token_id, e.detail and (e.detail.drawn, e.detail.rank, e.detail.before[0][0])) for e in events])
            assert all(math.isfinite(e.detail.entropy) and e.detail.cost_s > 0 for e in events if e.detail)
    assert told[0] == told[1]
