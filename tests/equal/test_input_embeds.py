"""A prompt given as embeddings is continued as by transformers: alone, in chunks, beside others, in another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import family
import numpy as np
import pytest
import torch

import workbench
from workbench.errors import InvalidRequest

NUM_NEW = 12
GREEDY = {"max_new_tokens": NUM_NEW, "temperature": 0, "ignore_eos": True}
GEMMA = {"head_dim": 16, "sliding_window": 24, "query_pre_attn_scalar": 16}
MODELS: dict[str, dict[str, Any]] = {"llama": {}, "gemma3_text": GEMMA}


@pytest.fixture(scope="module", params=MODELS)
def reference(request: pytest.FixtureRequest) -> Any:
    return family.made(request.param, **MODELS[request.param])


@pytest.fixture(scope="module")
def folder(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.written(reference, tmp_path_factory.mktemp("model"))


def opened(folder: Path, **options: Any) -> workbench.Engine:
    return workbench.Engine(str(folder), dtype="float32", skip_tokenizer_init=True, max_total_tokens=1024, **options)


def rows(seed: int, count: int) -> torch.Tensor:
    return torch.randn(count, 64, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def continued(reference: Any, embeds: torch.Tensor) -> list[int]:
    """Returns the greedy tokens behind embeddings, by whole passes."""
    table, tokens = reference.get_input_embeddings(), list[int]()
    for _ in range(NUM_NEW):
        tail = table(torch.tensor([tokens])) if tokens else embeds.new_empty(1, 0, 64)
        logits = reference(inputs_embeds=torch.cat((embeds[None], tail), 1)).logits[0, -1]
        tokens.append(int(logits.argmax()))
    return tokens


@pytest.mark.parametrize("options", [{}, {"chunked_prefill_size": 7}, {"page_size": 4, "process": True}])
def test_embeddings_are_continued_as_by_transformers(reference: Any, folder: Path, options: dict[str, Any]):
    prompts = [rows(1, 23), rows(2, 5)]
    wanted = [continued(reference, prompt) for prompt in prompts]
    with opened(folder, **options) as engine:
        alone = engine.generate(input_embeds=prompts[0], sampling_params=GREEDY)
        assert alone["output_ids"] == wanted[0]
        assert alone["meta_info"]["prompt_tokens"] == 23
        both = engine.generate(input_embeds=[prompt.tolist() for prompt in prompts], sampling_params=GREEDY)
        assert [each["output_ids"] for each in both] == wanted
        tokens = list(family.PROMPTS[2])
        plain = engine.generate(input_ids=tokens, sampling_params=GREEDY)["output_ids"]
        embeds = reference.get_input_embeddings()(torch.tensor(tokens)).detach()
        same = engine.generate(input_embeds=embeds, sampling_params=GREEDY)
        assert same["output_ids"] == plain


def test_other_embeddings_share_nothing(reference: Any, folder: Path):
    first, other = rows(3, 40), rows(3, 40)
    other[0] += 1.0
    with opened(folder) as engine:
        results = [engine.generate(input_embeds=np.asarray(prompt), sampling_params=GREEDY) for prompt in (first, other, first)]
        assert [each["output_ids"] for each in results] == [continued(reference, prompt) for prompt in (first, other, first)]
        assert [each["meta_info"]["cached_tokens"] for each in results] == [0, 0, 39]  # the very same prompt may be reused
        assert engine.generate(input_ids=[0] * 40, sampling_params=GREEDY)["meta_info"]["cached_tokens"] == 0


def test_penalties_do_not_see_the_places_of_embeddings(folder: Path):
    prompt = rows(4, 9)
    with opened(folder) as engine:
        plain = engine.generate(input_embeds=prompt, sampling_params=GREEDY | {"max_new_tokens": 1}, return_logprob=True)
        penalised = GREEDY | {"max_new_tokens": 1, "repetition_penalty": 2.0, "logit_bias": {0: 100.0}}
        assert engine.generate(input_embeds=prompt, sampling_params=penalised)["output_ids"] == [0]
        assert plain["meta_info"]["completion_tokens"] == 1


@pytest.mark.parametrize("wrong, message", [
    ([[1.0, 2.0]], "rows of 64, the width of the model"),
    ([[1.0], [1.0, 2.0]], "rows of one length"),
    ([], "a list of rows of numbers"),
    ([["a"] * 64], "rows of numbers"),
    ([[float("nan")] * 64], "not finite"),
])  # fmt: skip
def test_what_is_no_prompt_is_refused(folder: Path, wrong: Any, message: str):
    with opened(folder) as engine, pytest.raises(InvalidRequest, match=message):
        engine.generate(input_embeds=wrong, sampling_params=GREEDY)


def test_what_needs_the_tokens_of_a_prompt_is_refused(folder: Path):
    with opened(folder) as engine:
        with pytest.raises(InvalidRequest, match="beside another prompt"):
            engine.generate(input_ids=[1], input_embeds=rows(1, 2), sampling_params=GREEDY)
        with pytest.raises(InvalidRequest, match="no tokens whose log-probability"):
            engine.generate(input_embeds=rows(1, 2), sampling_params=GREEDY, return_logprob=True, logprob_start_len=0)
