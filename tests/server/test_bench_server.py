"""The comparison of two servers: one server under two names."""

from __future__ import annotations

import json

import pytest

from workbench.bench import server
from workbench.bench.commands import run

SMALL = ["--rounds", "1", "--chat-output-len", "3", "--num-short", "2", "--short-output-len", "2", "--request-rate", "50"]


@pytest.fixture
def few(monkeypatch, tmp_path):
    """A small ShareGPT file, and fewer requests in each scenario."""
    for name, value in {"NUM_FULL": 3, "NUM_CHATS": 2, "NUM_TURNS": 2, "SYSTEM_WORDS": 40, "TURN_WORDS": 4}.items():
        monkeypatch.setattr(server, name, value)
    talks = [{"conversations": [{"value": f"What is {i} plus {i}?"}, {"value": f"It is {2 * i}, I think."}]} for i in range(9)]
    path = tmp_path / "talks.json"
    path.write_text(json.dumps(talks))
    return ["--dataset-path", str(path)]


def test_both_servers_do_the_same_work(real_server, few, tmp_path, capsys):
    out = tmp_path / "out.json"
    assert run("server", [f"a={real_server.url}", f"b={real_server.url}", *SMALL, *few, "--output-file", str(out)]) == 0
    report = json.loads(out.read_text())
    assert {(name, len(each)) for name, by in report["rounds"].items() for each in by.values()} == {
        ("full", 1), ("chats", 1), ("rate", 1)
    }  # fmt: skip
    for scenario, requests, tokens in (("full", 3, None), ("chats", 4, 12), ("rate", 2, 4)):
        numbers = report["scenarios"][scenario]
        for name in ("a", "b"):
            assert numbers["completed"][name] == requests
            assert numbers["total_output_tokens"][name] == (tokens or numbers["total_output_tokens"]["a"])
        assert numbers["median_ttft_ms"]["ratio"] == numbers["median_ttft_ms"]["b"] / numbers["median_ttft_ms"]["a"]
    assert "| chats | TTFT p99, ms |" in capsys.readouterr().out


def test_an_answer_that_is_too_short_ends_the_comparison(real_server, capsys):
    long = [*SMALL, "--scenarios", "rate", "--short-output-len", "9000"]
    assert run("server", [f"a={real_server.url}", f"b={real_server.url}", *long]) == 2
    assert "instead of 9000" in capsys.readouterr().err


def test_two_servers_of_one_name_are_refused(real_server, capsys):
    assert run("server", [real_server.url, real_server.url]) == 2
    assert "two different names" in capsys.readouterr().err


def test_prompts_of_different_lengths_are_named():
    report = {
        "full": {"total_input_tokens": {"a": 1000.0, "b": 1100.0}},
        "rate": {"total_input_tokens": {"a": 1000.0, "b": 1001.0}},
    }
    assert server.uneven(report, ["a", "b"]) == ["full: prompts of 1,000 and 1,100 tokens"]
