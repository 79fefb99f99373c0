from __future__ import annotations

import argparse

import pytest

from workbench.bench.offline import Job, measure, random_jobs, trace_file
from workbench.bench.overhead import beside, spin, taking_turns
from workbench.bench.workloads import WORKLOADS, Workload
from workbench.errors import InvalidRequest

SHARED = WORKLOADS[-1]


def test_prompts_have_the_stated_lengths_and_share_exactly_the_shared_part():
    prompts = SHARED.prompts(49152, seed=3)
    assert [len(prompt) for prompt in prompts] == [1024 + 32] * 32
    assert len({tuple(prompt[:1024]) for prompt in prompts}) == 1
    assert len({tuple(prompt[1024:]) for prompt in prompts}) == 32


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_a_round_repeats_and_no_two_rounds_share_a_first_token_run(workload):
    first, again, other = workload.prompts(49152, 1), workload.prompts(49152, 1), workload.prompts(49152, 2)
    assert first == again
    assert {tuple(prompt[:4]) for prompt in first}.isdisjoint(tuple(prompt[:4]) for prompt in other)


def test_figures_count_what_the_workload_says():
    assert Workload("w", 4, own_len=10, new_tokens=5).figure(2.0) == 10.0
    assert Workload("w", 4, own_len=10, new_tokens=5, shared_len=6, counts="prompt").figure(2.0) == 32.0
    assert Workload("w", 4, own_len=10, new_tokens=5, counts="seconds").figure(2.0) == 2.0


def dataset(**changes) -> argparse.Namespace:
    values = {"num_prompts": 200, "random_input_len": 20, "random_output_len": 8, "random_range_ratio": 0.5, "seed": 1}
    return argparse.Namespace(**{**values, **changes})


def test_random_jobs_reach_both_ends_of_the_length_range_and_no_further():
    jobs = random_jobs(dataset(), 1000)
    assert {len(job.input_ids) for job in jobs} == set(range(10, 21))
    assert {job.new_tokens for job in jobs} == set(range(4, 9))
    assert {len(job.input_ids) for job in random_jobs(dataset(random_range_ratio=1.0), 1000)} == {20}
    assert random_jobs(dataset(), 1000) == jobs != random_jobs(dataset(seed=2), 1000)


@pytest.mark.parametrize("changes", [{"num_prompts": 0}, {"random_output_len": 0}, {"random_range_ratio": 1.5}])
def test_impossible_data_sets_are_refused_by_name(changes):
    with pytest.raises(InvalidRequest, match=next(iter(changes))):
        random_jobs(dataset(**changes), 1000)


class CountingEngine:
    """A backend that answers each prompt with the requested number of tokens."""

    def generate(self, input_ids, sampling_params):
        self.asked = list(zip(input_ids, sampling_params, strict=True))
        return [
            {"meta_info": {"prompt_tokens": len(ids), "cached_tokens": 1, "completion_tokens": params["max_new_tokens"]}}
            for ids, params in self.asked
        ]


def test_throughput_adds_up_what_the_engine_reports():
    engine = CountingEngine()
    result = measure(engine, [Job([5, 6, 7], 2), Job([8], 4)], ignore_eos=True)
    assert (result.num_requests, result.input_tokens, result.cached_tokens, result.output_tokens) == (2, 4, 2, 6)
    assert [params["ignore_eos"] for _, params in engine.asked] == [True, True]
    assert f"{'Total generated tokens:':<40}{6:>12}" in result.to_text()


def test_turns_alternate_and_the_first_round_is_dropped():
    calls: list[tuple[str, int]] = []

    def kind(name: str, seconds: float):
        return lambda number: calls.append((name, number)) or seconds + number

    assert taking_turns([kind("a", 10), kind("b", 20)], rounds=2) == [[11, 12], [21, 22]]
    assert calls == [("b", 0), ("a", 0), ("a", 1), ("b", 1), ("b", 2), ("a", 2)]


def test_the_busy_cell_ends_when_the_decode_ends_and_also_when_it_fails():
    class Engine:
        info = {"vocab_size": 1000}

        def get_server_info(self):
            return self.info

        def generate(self, input_ids, sampling_params):
            assert [len(prompt) for prompt in input_ids] == [16] * 8

    assert beside(spin, Engine(), seed=1) > 0
    Engine.info = {}
    with pytest.raises(KeyError, match="vocab_size"):
        beside(spin, Engine(), seed=1)


def test_profiling_without_a_folder_is_refused_before_anything_is_loaded(monkeypatch, tmp_path):
    assert trace_file(False) is None
    monkeypatch.delenv("WORKBENCH_TORCH_PROFILER_DIR", raising=False)
    with pytest.raises(InvalidRequest, match="WORKBENCH_TORCH_PROFILER_DIR"):
        trace_file(True)
    monkeypatch.setenv("WORKBENCH_TORCH_PROFILER_DIR", str(tmp_path / "new"))
    assert trace_file(True).parent.is_dir()
