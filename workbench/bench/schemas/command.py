"""The command itself: measures, writes rows, prints tables, and checks the goals."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time

from workbench.bench.report import machine
from workbench.bench.schemas.measure import Row
from workbench.bench.schemas.report import goals, report
from workbench.bench.schemas.sets import find_cases, sample
from workbench.bench.schemas.workers import measure_all
from workbench.config import ServerArgs
from workbench.grammar import Vocabulary
from workbench.hub.from_args import find_tokenizer


def run(args: argparse.Namespace) -> int:
    # As at an interrupt: the processes that measure would outlive us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    rows = [json.loads(line) for path in args.rows for line in path.open()]
    if args.paths:
        rows += measured(args)
    print(report(rows))
    print(machine())
    missed = goals([row for row in rows if row["reader"] == "workbench"]) if args.check else []
    for goal in missed:
        print(f"missed: {goal}", file=sys.stderr)
    return 1 if missed else 0


def measured(args: argparse.Namespace) -> list[Row]:
    cases = find_cases(args.paths, args.families, engine_tests=args.engine_tests)
    if args.sample:
        cases = sample(cases, args.sample, args.seed)
    found = find_tokenizer(ServerArgs.make(model_path=args.model))
    assert found is not None
    vocabulary = Vocabulary(found.hf, found.vocab_size, found.eos_token_ids)
    _ = vocabulary.pieces  # before the processes are forked
    rows: list[Row] = []
    output = args.output.open("w") if args.output else None
    for reader in args.readers:
        said = time.monotonic()
        for number, row in enumerate(
            measure_all(
                cases, reader, vocabulary,
                processes=args.processes, limit_s=args.limit_s, num_draws=args.draws, seed=args.seed,
            ), 1
        ):  # fmt: skip
            rows.append(row)
            if output:
                print(json.dumps(row), file=output, flush=True)
            if time.monotonic() - said > 5 or number == len(cases):
                said = time.monotonic()
                print(f"{reader}: {number:,} of {len(cases):,}", file=sys.stderr)
    return rows
