"""Measures masks at 32 streams, in a step and in whole batches. All streams generate the same number of tokens, none by jumping.

For a step, cores side by side, each with another constraint, do their steps in turn on one model, and each step is compared
with that of free text a few milliseconds before or after it. Whole batches go through an engine, one after the other: that is
what a user gets, and on a shared machine it takes many rounds to see a few percent.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.bench.overhead import taking_turns
from workbench.bench.report import markdown_table, spread
from workbench.bench.workloads import random_ids
from workbench.config import ServerArgs
from workbench.types import GrammarSpec, Request, SamplingParams

if TYPE_CHECKING:
    from workbench.grammar.matcher import CompiledGrammar
    from workbench.launch.runner import Loaded

NUM_STREAMS, NUM_TOKENS, NUM_PROMPT = 32, 64, 40
PARAMS = SamplingParams(temperature=0, max_new_tokens=NUM_TOKENS, ignore_eos=True)
STRINGS = '{"type": "array", "items": {"type": "string"}, "minItems": 99}'
CONSTRAINTS = {
    "free text": None,
    "any text": GrammarSpec("regex", r"(.|\n)*"),
    "counted words": GrammarSpec("regex", r"([a-z]{1,12}[ ,.])+"),
    "counted strings": GrammarSpec("json_schema", STRINGS.replace('"string"', '"string", "maxLength": 16')),
    "free strings": GrammarSpec("json_schema", STRINGS),
}
"""Under each, `NUM_TOKENS` tokens never reach the end."""


def masks(server_args: ServerArgs, rounds: int) -> str:
    """Measures a decode step with each constraint, and how much longer it takes than the step of free text beside it."""
    from workbench.grammar import GrammarCompiler, Vocabulary
    from workbench.launch.engine import core_config
    from workbench.launch.runner import load_runner

    args = replace(server_args, max_total_tokens=server_args.page_size)  # each batch has a store of its own
    loaded = load_runner(args)
    assert loaded.tokenizer is not None
    config = core_config(args, loaded, 0)
    compiler = GrammarCompiler(Vocabulary(loaded.tokenizer.hf, config.vocab_size, config.eos_ids))
    batches = [Streams(args, loaded, compiler.get(spec) if spec else None) for spec in CONSTRAINTS.values()]
    compiler.close()
    seconds: list[list[float]] = [[] for _ in batches]
    for number in range(rounds + 1):
        for batch in batches:
            batch.begin(number)
        for step in range(NUM_TOKENS - 1):
            for i in rotated(range(len(batches)), step):
                step_s = batches[i].step()
                if number:  # the first round warms up
                    seconds[i].append(step_s)
    free = seconds[0]
    rows = []
    for name, taken in zip(CONSTRAINTS, seconds, strict=True):
        cost = statistics.median(a / b for a, b in zip(taken, free, strict=True)) - 1
        rows.append([name, f"{statistics.median(taken) * 1e3:.2f} ms", f"{cost:+.1%}"])
    return markdown_table([f"{NUM_STREAMS} streams of", "a decode step", "beside one of free text"], rows)


def whole_batches(server_args: ServerArgs, rounds: int) -> str:
    """Measures a batch of each constraint, and how much longer it takes than the batch of free text in the same round."""
    import workbench

    with workbench.Engine(**{**server_args.to_dict(), "disable_jump_forward": True}) as engine:
        seconds = taking_turns([partial(batch, engine, spec) for spec in CONSTRAINTS.values()], rounds)
    free = seconds[0]
    rows = [
        [name, f"{statistics.median(taken):.3f} s", "" if taken is free else spread(taken, free)]
        for name, taken in zip(CONSTRAINTS, seconds, strict=True)
    ]
    head = [f"{NUM_STREAMS} streams of", f"{NUM_TOKENS} tokens each", "more than free text (median of pairs, quartiles)"]
    return markdown_table(head, rows)


def batch(engine: Any, spec: GrammarSpec | None, seed: int) -> float:
    """Returns the seconds of a batch whose size is the same with every constraint, and without one."""
    rng, vocab_size = random.Random(seed), engine.get_server_info()["vocab_size"]
    engine.flush_cache()
    prompts = [random_ids(rng, NUM_PROMPT, vocab_size) for _ in range(NUM_STREAMS)]
    params = {"temperature": 0, "max_new_tokens": NUM_TOKENS, "ignore_eos": True} | ({spec.kind: spec.text} if spec else {})
    began = time.perf_counter()
    results = engine.generate(input_ids=prompts, sampling_params=params)
    seconds = time.perf_counter() - began
    assert all(len(result["output_ids"]) == NUM_TOKENS for result in results)
    return seconds


def rotated(items: range, by: int) -> list[int]:
    by %= len(items)
    return [*items[by:], *items[:by]]


class Streams:
    """The streams of one constraint, in a core and a K/V store of their own."""

    def __init__(self, args: ServerArgs, loaded: Loaded, compiled: CompiledGrammar | None) -> None:
        from workbench.attention.registry import create_backend, create_store
        from workbench.engine.core import EngineCore
        from workbench.engine.runner import TorchRunner
        from workbench.launch.engine import core_config
        from workbench.text.detokenizer import TextStream

        shared, tokenizer = loaded.runner, loaded.tokenizer
        assert tokenizer is not None
        num_slots = NUM_STREAMS * (NUM_PROMPT + NUM_TOKENS)
        kv = create_store(shared.model.attention_specs(), num_slots, loaded.dtype, shared.device)
        runner = TorchRunner(shared.model, kv, create_backend("torch", kv), shared.sampler)
        self.core = EngineCore(
            core_config(args, replace(loaded, runner=runner), 0), runner,
            text_for=lambda request: TextStream(tokenizer, request.input_ids, request.params),
        )  # fmt: skip
        self._compiled = compiled

    def begin(self, seed: int) -> None:
        """Computes the prompts and the first tokens of a round."""
        rng, vocab_size = random.Random(seed), self.core.config.vocab_size
        self.core.flush_cache()
        for i in range(NUM_STREAMS):
            request = Request(rid=str(i), input_ids=tuple(random_ids(rng, NUM_PROMPT, vocab_size)), params=PARAMS)
            self.core.add(request, matcher=None if self._compiled is None else self._compiled.start(()))
        while any(not seq.is_decoding for seq in (*self.core.scheduler.waiting, *self.core.scheduler.running)):
            self.core.step()

    def step(self) -> float:
        """Returns the seconds of a decode step, which gives every stream a token."""
        began = time.perf_counter()
        outs = self.core.step()
        seconds = time.perf_counter() - began
        assert [len(out.token_ids) for out in outs] == [1] * NUM_STREAMS
        return seconds
