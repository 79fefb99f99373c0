"""Metrics of a server, read as Prometheus reads them, beside what its answers say."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from workbench.model.tiny import write_config

pytestmark = pytest.mark.process
PROMPT = [5, 6, 7, 8, 9, 10, 11, 12]
BODY = {"input_ids": PROMPT, "sampling_params": {"max_new_tokens": 5, "ignore_eos": True}}


@pytest.fixture(scope="module")
def http(tmp_path_factory, server_process):
    folder = str(write_config(tmp_path_factory.mktemp("model")))
    server = server_process(
        "--model-path", folder, "--load-format", "dummy", "--skip-tokenizer-init", "--max-total-tokens", "2000",
        "--enable-metrics", "--metrics-alias", "sglang", "--served-model-name", "the-model",
    )  # fmt: skip
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
    server.close()


def scrape(http):
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, sample.labels.get("le") or sample.labels.get("reason", "")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.labels.pop("model_name") == "the-model"
    }


def test_metrics_count_what_the_answers_say_and_leave_out_checks(http):
    before = scrape(http)
    metas = [http.post("/generate", json=BODY).json()["meta_info"] for _ in range(3)]
    http.get("/health_generate")
    http.post("/generate", json=BODY | {"log_metrics": False})
    after = scrape(http)

    def grown(name, label=""):
        return after[name, label] - before.get((name, label), 0)

    for prefix in ("workbench_", "sglang:"):
        assert grown(f"{prefix}generation_tokens_total") == sum(meta["completion_tokens"] for meta in metas) == 15
        assert grown(f"{prefix}prompt_tokens_total") == sum(meta["prompt_tokens"] - meta["cached_tokens"] for meta in metas)
        for histogram in ("time_to_first_token", "e2e_request_latency", "time_per_output_token", "func_latency"):
            assert grown(f"{prefix}{histogram}_seconds_count") == 3
            assert after[f"{prefix}{histogram}_seconds_bucket", "+Inf"] == after[f"{prefix}{histogram}_seconds_count", ""]
        assert grown(f"{prefix}num_requests_total", "length") == 3
        assert (after[f"{prefix}num_running_reqs", ""], after[f"{prefix}num_queue_reqs", ""]) == (0, 0)
        assert (after[f"{prefix}num_used_tokens", ""], after[f"{prefix}token_usage", ""]) == (0, 0)
        cached, prompt = (sum(meta[name] for meta in metas) for name in ("cached_tokens", "prompt_tokens"))
        assert after[f"{prefix}cache_hit_rate", ""] == pytest.approx(cached / prompt)
        assert 0 < after[f"{prefix}gen_throughput", ""] <= 1.5, "tokens of the last ten seconds"


def test_a_request_that_ends_with_its_first_step_counts_its_prompt(http):
    before = scrape(http)["workbench_prompt_tokens_total", ""]
    for max_new_tokens in (0, 1):
        prompt = [20 + max_new_tokens] * 9
        http.post("/generate", json={"input_ids": prompt, "sampling_params": {"max_new_tokens": max_new_tokens}})
    assert scrape(http)["workbench_prompt_tokens_total", ""] - before == 18


def test_buckets_are_those_of_the_manual(http):
    http.post("/generate", json=BODY)
    found = scrape(http)
    bounds = {name: [float(le) for (n, le) in found if n == f"sglang:{name}_seconds_bucket"] for name in
              ("time_to_first_token", "e2e_request_latency", "time_per_output_token", "func_latency")}  # fmt: skip
    assert bounds["time_to_first_token"][:5] == [0.001, 0.005, 0.01, 0.02, 0.04]
    assert (len(bounds["time_to_first_token"]), len(bounds["e2e_request_latency"])) == (21, 16)
    assert bounds["e2e_request_latency"][-3:-1] == [50, 60]
    assert len(bounds["time_per_output_token"]) == 19
    assert bounds["func_latency"][:2] == [0.05, pytest.approx(0.075)]
    assert len(bounds["func_latency"]) == 19


def test_without_the_setting_there_are_none(real_server):
    assert httpx.get(f"{real_server.url}/metrics").status_code == 404
