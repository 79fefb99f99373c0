"""lm-eval: its scores of the server are those of its own transformers backend on the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import oracle
import pytest
import transformers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FACTS = [
    ("France", "Paris", ["Berlin", "Madrid"]), ("Germany", "Berlin", ["Paris", "a cup of tea"]),
    ("Japan", "Tokyo", ["Kyoto", "Rome"]),
    ("Italy", "Rome", ["Milan", "London"]), ("Spain", "Madrid", ["Barcelona", "Lima"]), ("Peru", "Lima", ["Cusco", "Cairo"]),
    ("Kenya", "Nairobi", ["Mombasa", "Oslo"]), ("Norway", "Oslo", ["Bergen", "Nairobi"]),
]  # fmt: skip
COMMON = {"dataset_path": "json", "test_split": "test", "num_fewshot": 0}
GREEDY = {"until": ["\n"], "max_gen_toks": 12, "do_sample": False, "temperature": 0}
EXACT = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
TASKS = {
    "choices": {
        "output_type": "multiple_choice", "doc_to_text": "The capital of {{place}} is", "doc_to_choice": "names",
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "text": {
        "output_type": "generate_until", "doc_to_text": "Q: What is the capital of {{place}}?\nA:",
        "doc_to_target": "{{names[0]}}",
        "generation_kwargs": GREEDY, "metric_list": EXACT,
    },
    "rolling": {
        "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "The capital of {{place}} is {{names[0]}}.",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def evaluate(require, tmp_path_factory):
    """Returns a function from a model to the logged samples and the scores of all tasks."""
    require("lm_eval")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"place": place, "names": [right, *wrong]} for place, right, wrong in FACTS]
    (folder / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"data_files": {"test": str(folder / "facts.jsonl")}, "cache_dir": str(folder / "cache")}
    for name, task in TASKS.items():  # JSON is YAML
        (folder / f"{name}.yaml").write_text(json.dumps({"task": f"local_{name}", "dataset_kwargs": data, **COMMON, **task}))
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    names = [f"local_{name}" for name in TASKS]
    return lambda model, **more: simple_evaluate(model, tasks=names, task_manager=manager, bootstrap_iters=0, **more)


@pytest.fixture(scope="module")
def by_transformers(evaluate, smollm2):
    from lm_eval.models.huggingface import HFLM

    path = Path(smollm2)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return evaluate(HFLM(pretrained=oracle.load(path), tokenizer=tokenizer, backend="causal", batch_size=1, device="cpu"))


def answers(result, task):
    return [sample["filtered_resps"] for sample in result["samples"][f"local_{task}"]]


@pytest.mark.parametrize("way", ["local tokenizer", "tokenizer of the server", "many at once"])
def test_scores_and_texts_are_those_of_its_transformers_backend(evaluate, by_transformers, smollm2, v1, tmp_path, way):
    args = {"base_url": f"{v1}/completions", "model": "smollm2-135m"}
    if way == "local tokenizer":
        path = Path(smollm2)
        transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(tmp_path)
        args |= {"tokenizer": str(tmp_path), "tokenizer_backend": "huggingface"}
    elif way == "many at once":
        args |= {"num_concurrent": 4, "batch_size": 3}
    ours = evaluate("local-completions", model_args=args)
    for (got, got_greedy), (want, want_greedy) in zip(
        [one for sample in answers(ours, "choices") for one in sample],
        [one for sample in answers(by_transformers, "choices") for one in sample], strict=True,
    ):  # fmt: skip
        assert got == pytest.approx(want, abs=2e-3)
        assert got_greedy == want_greedy
    flags = {greedy for sample in answers(ours, "choices") for _, greedy in sample}
    assert flags == {True, False}, "some of the names are what the model would write"
    assert answers(ours, "text") == answers(by_transformers, "text")
    for task, scores in by_transformers["results"].items():
        numbers = {name: score for name, score in scores.items() if isinstance(score, float)}
        assert numbers, task
        assert {name: ours["results"][task][name] for name in numbers} == pytest.approx(numbers, rel=1e-4)
