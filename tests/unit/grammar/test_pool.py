"""Compilation in child processes: the same grammars, limits that end it, and no child left over."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import defaultdict

import numpy as np
import psutil
import pytest

from workbench.errors import Aborted, EngineDead, InvalidRequest, NotSupported, WorkbenchError
from workbench.grammar import GrammarCompiler, Limits, Options, Vocabulary
from workbench.grammar import compiler as compiler_module
from workbench.grammar.normalise import is_quick
from workbench.types import GrammarSpec

pytestmark = pytest.mark.process

LONG = "|".join(f"word{i * 7919:07d}tail" * 3 for i in range(20_000))
"""Regex that takes xgrammar more than a minute."""
SLOW = GrammarSpec("ebnf", "root ::= " + " | ".join(f'"{i:020d}"' for i in range(20_000)))
"""EBNF that takes as long, in little memory."""
PADDING = f"(?#{'long' * 1100})"
"""Comment that makes a regex too long to be compiled on the caller's thread."""


@pytest.fixture
def compiler(vocabulary: Vocabulary):
    with_limits = GrammarCompiler(vocabulary, Options(limits=Limits(num_workers=1, timeout_s=60)))
    yield with_limits
    with_limits.close()


def limited(vocabulary: Vocabulary, **limits) -> GrammarCompiler:
    return GrammarCompiler(vocabulary, Options(limits=Limits(**{"num_workers": 1, "timeout_s": 60} | limits)))


def wait_until(true, seconds=60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.01)


def masks_along(compiled, vocabulary: Vocabulary, seed: int) -> list[bytes]:
    """Returns the masks of a random walk."""
    draw, matcher, masks = random.Random(seed), compiled.start(), []
    while not matcher.is_finished and len(masks) < 30:
        mask = np.zeros(-(-vocabulary.size // 32), dtype=np.int32)
        matcher.fill_mask(mask)
        masks.append(mask.tobytes())
        matcher.accept(draw.choice(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist()))
    return masks


@pytest.mark.parametrize(
    "spec",
    [
        GrammarSpec("regex", "[ab]{1,3}x" + PADDING),
        GrammarSpec("json_schema", json.dumps({"type": "array", "items": {"enum": [1, "a", None]}, "$comment": "c" * 140_000})),
        GrammarSpec("ebnf", 'root ::= "a" [b-z]* | "0.5"' + " " * 4100),
        GrammarSpec("choices", json.dumps(["ab", "a.b", "b*", *(f"x{i}" for i in range(1000))])),
    ],
    ids=lambda spec: spec.kind,
)
def test_a_child_compiles_what_this_process_compiles(spec, vocabulary: Vocabulary, compiler, monkeypatch) -> None:
    assert not is_quick(spec)
    there = compiler.get(spec)
    assert len(compiler.pids) == 1
    monkeypatch.setattr("workbench.grammar.compiler.is_quick", lambda spec: True)
    monkeypatch.setattr("workbench.grammar.compiler.QUICK_CHARS", defaultdict(lambda: 10**6))
    here = GrammarCompiler(vocabulary)
    for seed in range(10):
        assert masks_along(there, vocabulary, seed) == masks_along(here.get(spec), vocabulary, seed)
    assert here.pids == []


def test_the_child_is_light_and_ends_with_its_compiler(compiler) -> None:
    compiler.get(GrammarSpec("regex", "a" + PADDING))
    (pid,) = compiler.pids
    child = psutil.Process(pid)
    assert not any("torch" in mapped.path for mapped in child.memory_maps())
    assert child.memory_info().rss < 150 << 20
    compiler.close()
    assert not psutil.pid_exists(pid)
    with pytest.raises(EngineDead):
        compiler.get(GrammarSpec("regex", "b" + PADDING))


@pytest.mark.parametrize(
    "spec, limits, named",
    [
        (SLOW, {"timeout_s": 1.5}, r"compiles in 1.5 s \(grammar_compile_timeout_s\)"),
        (GrammarSpec("regex", LONG), {"memory_mb": 150}, r"compiles in 150 MB of memory \(grammar_compile_memory_mb\)"),
    ],
    ids=["time", "memory"],
)
def test_a_limit_ends_a_compilation_and_the_next_works(spec, limits, named, vocabulary: Vocabulary) -> None:
    compiler = limited(vocabulary, **limits)
    with pytest.raises(InvalidRequest, match=f"^{spec.kind} is .* {named}"):
        compiler.get(spec)
    wait_until(lambda: compiler.pids == [])
    compiler.close()
    other = limited(vocabulary)
    assert other.get(GrammarSpec("regex", "a" + PADDING)).start().num_allowed > 0
    other.close()


def test_a_limit_is_looked_at_from_the_first_moment(vocabulary: Vocabulary, monkeypatch) -> None:
    """The watching thread is ahead of every line that follows, as if this thread stood still after it began to watch."""
    monkeypatch.setattr("workbench.grammar.pool.TICK_S", 0)
    start = threading.Thread.start

    def started_long_ago(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "workbench-compile-watch":
            time.sleep(0.05)

    monkeypatch.setattr(threading.Thread, "start", started_long_ago)
    early, late = limited(vocabulary), limited(vocabulary)
    assert not early.get(GrammarSpec("regex", "a" + PADDING)).start().is_finished
    monkeypatch.setattr("workbench.grammar.pool.START_S", 0)
    with pytest.raises(WorkbenchError, match="it did not start in time"):
        late.get(GrammarSpec("regex", "b" + PADDING))
    early.close()
    late.close()


def test_a_child_that_is_killed_is_an_error_and_the_next_one_works(compiler) -> None:
    compiler.get(GrammarSpec("regex", "a" + PADDING))
    (pid,) = compiler.pids
    coming = compiler.start(SLOW)
    wait_until(lambda: psutil.Process(pid).cpu_percent(0.05) > 20)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(InvalidRequest, match=r"its compiler survives \(it ended with exit code -9\)"):
        coming.result()
    assert compiler.get(GrammarSpec("regex", "b" + PADDING)).start().num_allowed > 0
    assert compiler.pids != [pid]


def test_a_compilation_that_nobody_waits_for_is_stopped(compiler) -> None:
    compiler.get(GrammarSpec("regex", "a" + PADDING))
    (pid,) = compiler.pids
    first, second = compiler.start(SLOW), compiler.start(SLOW)
    first.cancel()
    time.sleep(0.3)
    assert psutil.pid_exists(pid), "the other one still waits"
    second.cancel()
    wait_until(lambda: not psutil.pid_exists(pid))
    assert compiler.start(GrammarSpec("regex", "b" + PADDING)).result(60).num_allowed > 0


def test_refusals_come_at_once_and_errors_from_a_child_are_the_same(compiler) -> None:
    coming = compiler.start(GrammarSpec("regex", "(?=a).{1,1000}"))
    assert coming.done()
    with pytest.raises(NotSupported, match="lookahead") as here:
        coming.result()
    with pytest.raises(NotSupported, match="lookahead") as there:
        compiler.get(GrammarSpec("regex", "(?=a)" + PADDING))
    assert here.value.message == there.value.message
    with pytest.raises(InvalidRequest, match=r"^ebnf is .*Nest layer") as caught:
        compiler.get(GrammarSpec("ebnf", "root ::= " + "(" * 5000))
    assert caught.value.field == "ebnf"


PATHOLOGICAL = {
    "nested quantifiers": ("regex", "((((a*)*)*b+)+c?)*"),
    "nested counts": ("regex", "((a{1,1000}){1,1000}){1,1000}"),
    "exponential": ("regex", "(a|b)*a(a|b){200}"),
    "optional parts": ("regex", "[ab]?" * 3000),
    "long count": ("regex", ".{1,1000}"),
    "longer count": ("regex", "[a-z]{1,100000}"),
    "groups": ("regex", "(" * 5000 + ")" * 5000),
    "deep group": ("ebnf", "root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000),
    "deep schema": ("json_schema", '{"items":' * 5000 + "{}" + "}" * 5000),
    "long strings": ("json_schema", '{"type":"string","maxLength":1000000}'),
    "long array": ("json_schema", '{"type":"array","items":{"type":"string"},"minItems":100000}'),
    "too long": ("regex", "a" * 2_000_000),
    "words": ("choices", json.dumps([f"{i * 7919:07d}" * 4 for i in range(20_000)])),
}


@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_a_pathological_constraint_works_or_ends_with_an_error(name: str, vocabulary: Vocabulary) -> None:
    compiler = limited(vocabulary, timeout_s=3, memory_mb=400)
    kind, text = PATHOLOGICAL[name]
    coming = compiler.start(GrammarSpec(kind, text))
    error = coming.exception()
    assert error.field.startswith(kind) if isinstance(error, InvalidRequest) else coming.result().num_allowed > 0
    compiler.close()


def test_an_interrupt_of_one_who_compiles_is_no_interrupt_of_others_who_wait(monkeypatch, compiler):
    compiling, others_wait = threading.Event(), threading.Event()

    def interrupted(backend, spec):
        compiling.set()
        others_wait.wait(60)
        raise KeyboardInterrupt

    def compile_first():
        with pytest.raises(KeyboardInterrupt):
            compiler.get(spec)

    spec = GrammarSpec("regex", "[ab]")
    monkeypatch.setattr(compiler_module, "_quickly", interrupted)
    first = threading.Thread(target=compile_first)
    first.start()
    assert compiling.wait(60)
    other = compiler.start(spec)
    others_wait.set()
    assert isinstance(other.exception(60), Aborted)
    first.join()
    monkeypatch.undo()
    assert compiler.get(spec).start().num_allowed >= 2, "it is compiled at the next request"
