"""`python tests/data/schemas/select_cases.py FOLDER`: makes the selections beside this file from checkouts under FOLDER."""

from __future__ import annotations

import gzip
import sys
from dataclasses import replace
from pathlib import Path

from workbench.bench.schemas.sets import GOAL_DRAFTS, Case, find_cases, sample

SEED = 12
NUM_SCHEMAS, NUM_GROUPS = 300, 300
MAX_CHARS = 24_000
"""Longer cases are left to the whole set."""
NUM_EACH = 2
"""Valid instances of a schema, and invalid ones."""


def main() -> None:
    cases = find_cases([Path(sys.argv[1])])
    bench = [_shorter(case) for case in cases if not case.of_suite]
    suite = [case for case in cases if case.of_suite and case.family in GOAL_DRAFTS]
    write("jsonschemabench", sample([case for case in bench if len(case.to_json()) <= MAX_CHARS], NUM_SCHEMAS, SEED))
    write("test_suite", sample(suite, NUM_GROUPS, SEED))


def _shorter(case: Case) -> Case:
    kinds = ([test for test in case.tests if test[0] is is_valid][:NUM_EACH] for is_valid in (True, False))
    return replace(case, tests=tuple(test for kind in kinds for test in kind))


def write(name: str, cases: list[Case]) -> None:
    data = "".join(case.to_json() + "\n" for case in cases).encode()
    path = Path(__file__).parent / f"{name}.jsonl.gz"
    path.write_bytes(gzip.compress(data, mtime=0))
    print(f"{path.name}: {len(cases)} cases, {len(data):,} bytes, {path.stat().st_size:,} compressed")


if __name__ == "__main__":
    main()
