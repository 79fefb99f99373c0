from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workbench.bench import commands, peers
from workbench.bench.peers import Peer, PeerFailed
from workbench.bench.workloads import Workload

SCRIPTS = peers.SCRIPTS
TINY = (Workload("tiny", 2, own_len=3, new_tokens=4), Workload("slow", 1, own_len=3, new_tokens=2, counts="seconds"))
ECHO = """
import sys; sys.path.insert(0, {scripts!r})
from protocol import serve
def load(settings):
    print("a library that talks to stdout", flush=True)
    return "echo " + str(settings["threads"]), lambda prompts, n: [[p[0]] * (n - {short}) for p in prompts]
serve(load)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Function that starts a peer whose script is the given text."""
    monkeypatch.setattr(peers, "SCRIPTS", tmp_path)
    started = []

    def start(script: str, name: str = "fake") -> Peer:
        monkeypatch.setitem(peers.PEERS, name, None)
        (tmp_path / f"run_{name}.py").write_text(script)
        started.append(Peer.start(name, {"threads": 2}, log=tmp_path / "log"))
        return started[-1]

    yield start
    for peer in started:
        peer.stop()


@pytest.mark.process
def test_a_peer_answers_with_seconds_though_its_library_prints(start, tmp_path):
    peer = start(ECHO.format(scripts=str(SCRIPTS), short=0))
    assert peer.version == "echo 2"
    assert peer.run([[5, 6], [7]], 3) > 0
    assert peer.ready_s > 0
    assert "a library that talks" in (tmp_path / "log").read_text()


@pytest.mark.process
def test_a_peer_that_makes_too_few_tokens_is_an_error(start):
    with pytest.raises(PeerFailed, match=r"made \[0\] tokens instead of 1"):
        start(ECHO.format(scripts=str(SCRIPTS), short=1))


@pytest.mark.process
def test_a_peer_that_dies_is_an_error_with_its_status(start):
    with pytest.raises(PeerFailed, match="status 7"):
        start("raise SystemExit(7)")


def test_all_peers_do_all_workloads_on_the_same_prompts_in_a_rotating_order():
    asked = []

    class Scripted(Peer):
        def run(self, prompts, new_tokens):
            asked.append((self.name, str(prompts)))
            return 1.0 if self.name == "transformers" else 0.5

    both = [Scripted("transformers", None, "t 1"), Scripted("other", None, "o 2")]
    peers.measure(both, TINY, vocab_size=5000, rounds=2)
    assert [name for name, _ in asked] == ["transformers", "other"] * 2 + ["other", "transformers"] * 2 + [
        "transformers",
        "other",
    ] * 2
    assert len({prompts for _, prompts in asked}) == 6
    assert both[0].seconds == {"tiny": [1.0, 1.0], "slow": [1.0, 1.0]}
    lines = peers.table(both, TINY).splitlines()
    assert lines[0] == "| system | tiny, tok/s | slow, s | ready after, s |"
    assert lines[3] == "| o 2 | 16 (2.00×) | 0.50 (2.00×) | 0.0 |"


def test_only_named_environments_are_measured(monkeypatch):
    for variable in filter(None, peers.PEERS.values()):
        monkeypatch.delenv(variable, raising=False)
    assert peers.available() == ["workbench", "stepwise", "transformers"]
    monkeypatch.setenv("WORKBENCH_PEER_OPENVINO", "/somewhere/python")
    assert peers.available() == ["workbench", "stepwise", "transformers", "openvino"]


def test_every_peer_has_a_script_that_imports_nothing_of_ours_but_our_own():
    for name in peers.PEERS:
        source = (SCRIPTS / f"run_{name}.py").read_text()
        assert ("import workbench" in source) == (name == "workbench")


@pytest.mark.process
@pytest.mark.parametrize("name", commands.BENCHMARKS)
def test_every_benchmark_has_help_and_loads_no_torch(name):
    code = f"import sys; from workbench.bench.commands import run\ntry: run({name!r}, ['--help'])\n"
    code += "finally: assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3]
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


@pytest.mark.process
@pytest.mark.parametrize("module", ["bench_offline_throughput", "bench_one_batch"])
def test_benchmark_modules_take_every_option_of_the_engine(module):
    done = subprocess.run([sys.executable, "-m", f"workbench.{module}", "--help"], capture_output=True, text=True, check=True)
    assert "--mem-fraction-static" in done.stdout
    assert "--chunked-prefill-size" in done.stdout


def test_a_mistake_shows_two_lines_and_no_traceback(capsys):
    assert commands.run("offline", ["--page-size", "0"]) == 2
    assert capsys.readouterr().err.strip() == "InvalidRequest: page_size is 0, it must be at least 1"


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "workbench.launch.runner", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert commands.run("one_batch", []) == 2
    assert capsys.readouterr().err.startswith("NotSupported: this benchmark needs torch")
