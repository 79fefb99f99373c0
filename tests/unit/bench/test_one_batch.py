from __future__ import annotations

import json
import re

import numpy as np
import oracle
import pytest
import torch

from workbench.bench.commands import run
from workbench.bench.one_batch import StaticBatch, measure
from workbench.engine.plan import Sampled, SeqResult, StepResult
from workbench.hub.find import gguf_path
from workbench.model.tiny import write_config
from workbench.text.tokenizer import load_tokenizer


class RememberingRunner:
    """A runner whose next token depends on every token of the sequence, read from the slots that the plan names."""

    vocab_size = 1000

    def __init__(self) -> None:
        self.slots: dict[int, int] = {}
        self.num_new: list[list[int]] = []

    def execute(self, plan):
        self.num_new.append([seq.num_new for seq in plan.seqs])
        sampled = []
        for seq in plan.seqs:
            pages = [page for segment in seq.segments for page in segment.pages]
            slots = [pages[p // plan.page_size] * plan.page_size + p % plan.page_size for p in range(seq.num_tokens)]
            for slot, token in zip(slots[seq.num_cached :], seq.token_ids, strict=True):
                assert slot not in self.slots
                self.slots[slot] = token
            sampled.append(SeqResult((Sampled(checksum([self.slots[slot] for slot in slots])),)))
        return StepResult(tuple(sampled))


def checksum(tokens: list[int]) -> int:
    return sum((i + 1) * token for i, token in enumerate(tokens)) % 1000


@pytest.mark.parametrize("page_size", [1, 4])
def test_a_static_batch_equals_a_plain_loop(page_size):
    prompts = [[3, 5, 7], [11] * 9, [2]]
    batch = StaticBatch(RememberingRunner(), prompts, max_new=6, page_size=page_size)
    for _ in range(6):
        batch.step()
    for prompt, tokens in zip(prompts, batch.tokens, strict=True):
        expected = list(prompt)
        for _ in range(6):
            expected.append(checksum(expected))
        assert tokens == expected


def test_a_measurement_is_one_prefill_and_then_single_tokens():
    runner = RememberingRunner()
    timing = measure(runner, batch_size=3, input_len=20, output_len=4)
    assert runner.num_new == [[20] * 3, [1] * 3, [1] * 3, [1] * 3]
    assert timing.prefill_throughput == pytest.approx(60 / timing.prefill_s)
    assert timing.decode_throughput == pytest.approx(3 / timing.median_decode_s)


@pytest.mark.parametrize("flag", ["--batch", "--input", "--output"])
def test_short_flags_reach_their_fields_and_zero_is_refused(flag, capsys):
    assert run("one_batch", [flag, "0"]) == 2
    assert "is 0, it must be at least 1" in capsys.readouterr().err


TINY = ["--load-format", "dummy", "--skip-tokenizer-init", "--device", "cpu", "--dtype", "float32", "--num-threads", "1"]


def test_a_model_is_opened_as_the_engine_opens_it_and_measured(tmp_path, capsys):
    sizes = ["--batch-size", "1", "2", "--input-len", "8", "--output-len", "3", "--max-total-tokens", "64"]
    file = tmp_path / "results.jsonl"
    assert run("one_batch", ["--model-path", str(write_config(tmp_path)), *TINY, *sizes, "--result-filename", str(file)]) == 0
    assert [json.loads(line)["batch_size"] for line in file.read_text().splitlines()] == [1, 2]
    assert capsys.readouterr().out.count("tok/s") == 4


def test_a_pool_too_small_for_the_batch_is_refused_with_both_numbers(tmp_path, capsys):
    sizes = ["--batch-size", "8", "--input-len", "8", "--output-len", "3", "--max-total-tokens", "64"]
    assert run("one_batch", ["--model-path", str(write_config(tmp_path)), *TINY, *sizes]) == 2
    assert "max_total_tokens is 64, it must be at least 96" in capsys.readouterr().err


@pytest.mark.model
@torch.inference_mode()
def test_correct_prints_the_logits_and_texts_of_transformers(capsys, smollm2):
    how = ["--dtype", "float32", "--quantization", "dequant", "--device", "cpu"]
    assert run("one_batch", ["--correct", "--model", smollm2, "--output-len", "6", *how]) == 0
    shown = capsys.readouterr().out
    model = oracle.load(gguf_path("smollm2-135m"))
    ids = json.loads(re.search(r"^input_ids=(.*)$", shown, re.M)[1])
    printed = [re.findall(r"\[+ *([-\d.]+),", part)[0] for part in shown.split("prefill logits")[1:]]
    wanted = [model(torch.tensor([ids[0][:count]])).logits[0, -1, 0] for count in (4, len(ids[0]))]
    assert np.allclose([float(number) for number in printed], wanted, atol=2e-3)
    expected = [oracle.greedy(model, tuple(prompt), 6).output for prompt in ids]
    tokenizer = load_tokenizer(gguf_path("smollm2-135m"))
    texts = [part.strip("\n") for part in re.split(r"=+ Prompt \d =+\n", shown)[1:]]
    assert texts == [tokenizer.decode([*prompt, *output]).strip("\n") for prompt, output in zip(ids, expected, strict=True)]
