"""Requests of every kind at once, in a pool that is too small for them, beside flushes, pauses, aborts and new weights.

Each answer equals the one that the same request has alone, in an engine without a cache; an aborted one is a beginning of it.
"""

from __future__ import annotations

import json
import random
import threading
from typing import Any

import pytest
from random_runs import guess
from tiny_text import write_text_model

import workbench

pytestmark = pytest.mark.heavy
NUM_SPECS, NUM_THREADS, NUM_EACH = 36, 8, 7
ARGS = {"load_format": "dummy", "dtype": "float32", "random_seed": 0, "num_threads": 1}
TEXTS = ["A", "Hello world ", "the the the name " * 3, "x" * 40, "x" * 40 + "y" * 30, "Paris 12 " * 6, "é漢😀 text " * 3]
FORCED = "a long constant text of which every byte is forced, " * 2
SCHEMA = {
    "type": "object", "required": ["name", "alive", "constant"], "additionalProperties": False,
    "properties": {"name": {"type": "string", "maxLength": 8}, "alive": {"enum": ["yes", "no"]}, "constant": {"const": FORCED}},
}  # fmt: skip
CONSTRAINTS: list[dict[str, Any]] = [
    {}, {}, {}, {"regex": "[0-9]{3}-(red|green)-[a-f]{2,40}"}, {"regex": f"(alpha|beta){'q' * 100}[ab]{{3}}"},
    {"json_schema": json.dumps(SCHEMA)}, {"choices": ["up", "down", "upper"]},
]  # fmt: skip
MORE: list[dict[str, Any]] = [
    {}, {}, {"stop": ["a"]}, {"stop": ["the", " n", "}"]}, {"stop": ["qq"]}, {"frequency_penalty": 0.5, "presence_penalty": 0.3},
    {"min_new_tokens": 3}, {"n": 2}, {"n": 3},
]  # fmt: skip
OPTIONS: list[dict[str, Any]] = [
    {}, {}, {"priority": 2}, {"priority": -1}, {"namespace": "other"}, {"return_logprob": True},
    {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 2}, {"return_hidden_states": True},
]  # fmt: skip
CHUNKS = {"page_size": 1, "max_total_tokens": 320, "chunked_prefill_size": 7, "schedule_policy": "lpm"}
MIXED = {
    "page_size": 4,
    "max_total_tokens": 400,
    "chunked_prefill_size": 16,
    "schedule_policy": "random",
    "enable_mixed_chunk": True,
}
Spec = tuple[str, dict[str, Any], dict[str, Any]]


def spec(number: int) -> Spec:
    rng = random.Random(number)
    sampling = {"max_new_tokens": rng.choice([1, 5, 20, 130]), "temperature": rng.choice([0, 0.7, 1.0]), "seed": number}
    params = sampling | rng.choice(CONSTRAINTS) | rng.choice(MORE)
    params["min_new_tokens"] = min(params.get("min_new_tokens", 0), params["max_new_tokens"])
    return rng.choice(TEXTS), params, rng.choice(OPTIONS)


SPECS = [spec(number) for number in range(NUM_SPECS)]


def ask(engine: workbench.Engine, asked: Spec, **more: Any) -> list[dict[str, Any]]:
    text, params, options = asked
    results = engine.generate(text, params, **options, **more)
    return results if isinstance(results, list) else [results]


def facts(result: dict[str, Any]) -> dict[str, Any]:
    """Returns what must be the same."""
    meta = result["meta_info"]
    hidden = sum(len(rows) if rows.ndim > 1 else 1 for rows in meta.get("hidden_states", ()))
    names = ("finish_reason", "prompt_tokens", "completion_tokens", "constraint_met")
    return {"text": result["text"], "ids": result["output_ids"], "hidden": hidden, **{name: meta.get(name) for name in names}}


def scores(result: dict[str, Any]) -> list[float]:
    """Returns all log-probabilities, which a batch may round in another way."""
    meta = result["meta_info"]
    entries = [*meta.get("input_token_logprobs", ()), *meta.get("output_token_logprobs", ())]
    return [entry[0] or 0.0 for entry in entries]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_text_model(tmp_path_factory.mktemp("model"), max_position_embeddings=256))


@pytest.fixture(scope="module")
def alone(folder):
    off = {"disable_radix_cache": True, "disable_overlap_schedule": True}
    with workbench.Engine(folder, max_total_tokens=20_000, **ARGS, **off) as engine:
        answers = [ask(engine, each) for each in SPECS]
    assert all(one["meta_info"]["finish_reason"]["type"] != "abort" for samples in answers for one in samples)
    return answers


class Crowd:
    """Threads that ask at once, and what was wrong with the answers."""

    def __init__(self, engine: workbench.Engine, folder: str, alone: list[list[dict[str, Any]]]) -> None:
        self.wrong: list[Any] = []
        self.num_aborted = 0
        self._engine, self._folder, self._alone = engine, folder, alone
        self._open: set[str] = set()

    def run(self) -> None:
        threads = [threading.Thread(target=self._client, args=(k,)) for k in range(NUM_THREADS)]
        for thread in threads:
            thread.start()
        rng = random.Random(0)
        while any(thread.is_alive() for thread in threads):
            self._disturb(rng)
            threads[rng.randrange(NUM_THREADS)].join(rng.choice([0.001, 0.01, 0.03]))

    def _client(self, k: int) -> None:
        rng = random.Random(k)
        for j in range(NUM_EACH):
            number, rid = rng.randrange(NUM_SPECS), f"{k}-{j}"
            self._open.add(rid)
            try:
                if rng.random() < 0.2 and "n" not in SPECS[number][1]:
                    self._leave(number, rid)
                else:
                    self._compare(number, ask(self._engine, SPECS[number], rid=rid))
            except Exception as error:
                self.wrong.append((number, error))
            self._open.discard(rid)

    def _leave(self, number: int, rid: str) -> None:
        text, params, options = SPECS[number]
        stream = self._engine.generate(text, params, stream=True, rid=rid, **options)
        next(iter(stream), None)
        stream.close()

    def _compare(self, number: int, results: list[dict[str, Any]]) -> None:
        for result, expected in zip(results, self._alone[number], strict=True):
            if result["meta_info"]["finish_reason"] == {"type": "abort", "message": "aborted by the caller"}:
                self.num_aborted += 1
                ids = result["output_ids"]
                begins = expected["text"].startswith(result["text"].rstrip("\ufffd"))
                is_right = begins and expected["output_ids"][: len(ids)] == ids
            else:
                is_right = facts(result) == facts(expected) and scores(result) == pytest.approx(scores(expected), abs=0.02)
            if not is_right:
                self.wrong.append((SPECS[number], result, expected))

    def _disturb(self, rng: random.Random) -> None:
        engine, kind = self._engine, rng.random()
        if kind < 0.3:
            engine.flush_cache()
        elif kind < 0.45:
            engine.pause_generation()
            engine.continue_generation()
        elif kind < 0.5:
            engine.update_weights_from_disk(self._folder, load_format="dummy")
        elif kind < 0.7 and (rids := sorted(self._open)):
            engine.abort(rng.choice(rids))


@pytest.mark.parametrize(
    ("config", "drafts"), [(CHUNKS, False), (MIXED, False), (CHUNKS, True)], ids=["chunks", "mixed", "drafts"]
)
def test_each_answer_is_that_of_its_request_alone(folder, alone, config, drafts):
    with workbench.Engine(folder, max_running_requests=8, schedule_conservativeness=0.02, **ARGS | config) as engine:
        if drafts:
            engine._handle.client._core.scheduler._propose = guess(1, 100)
        crowd = Crowd(engine, folder, alone)
        crowd.run()
        engine.flush_cache()
        load = engine._handle.client.engine.get_load()
    assert crowd.wrong == []
    assert crowd.num_aborted > 0
    assert load.num_retractions > 0
    assert (load.num_running, load.num_waiting, load.tokens_free) == (0, 0, config["max_total_tokens"])
