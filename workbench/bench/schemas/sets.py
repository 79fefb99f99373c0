"""The public sets of JSON schemas as cases: JSONSchemaBench, JSON-Schema-Test-Suite, and selections of them in JSON lines."""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.errors import InvalidRequest

ENGINE_TESTS = ("Handwritten", "Synthesized", "JME")
"""Families of JSONSchemaBench's folder that were written to test engines; all others are schemas that people have."""
DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
GOAL_DRAFTS = ("draft4", "draft7", "draft2020-12")


@dataclass(frozen=True)
class Case:
    """A schema and texts that are known to be valid or not."""

    name: str
    family: str
    schema: Any
    tests: tuple[tuple[bool, Any], ...]
    """(is valid, the instance)"""
    of_suite: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def find_cases(paths: Iterable[Path], families: Sequence[str] = (), *, engine_tests: bool = False) -> list[Case]:
    """Returns every case under the paths: checkouts, folders of checkouts, or files of JSON lines."""
    cases = [case for path in paths for case in _cases(path)]
    if not cases:
        raise InvalidRequest(
            "path", [*map(str, paths)], "a checkout of JSONSchemaBench or JSON-Schema-Test-Suite, or a .jsonl file"
        )
    if not engine_tests:
        cases = [case for case in cases if case.family not in ENGINE_TESTS]
    return [case for case in cases if not families or case.family in families]


def sample(cases: Sequence[Case], num: int, seed: int) -> list[Case]:
    """Returns `num` cases, from every family in proportion, at least one of each; the same for the same seed."""
    by_family: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_family[case.family].append(case)
    rng = random.Random(seed)
    taken: list[Case] = []
    for _, members in sorted(by_family.items()):
        count = max(1, round(num * len(members) / len(cases)))
        taken += rng.sample(members, min(count, len(members)))
    rng.shuffle(taken)  # a run that is ended early has seen every family
    return taken


def _cases(path: Path) -> Iterator[Case]:
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        yield from _lines(path)
    elif (path / "maskbench" / "data").is_dir():
        yield from _bench(path / "maskbench" / "data")
    elif (path / "tests" / "draft7").is_dir():
        yield from _suite(path / "tests")
    elif path.is_dir():
        for folder in sorted(path.iterdir()):
            if (folder / "maskbench").is_dir() or (folder / "tests" / "draft7").is_dir():
                yield from _cases(folder)


def _lines(path: Path) -> Iterator[Case]:
    with gzip.open(path, "rt") if path.name.endswith(".gz") else path.open() as lines:
        for line in lines:
            fields = json.loads(line)
            yield Case(**{**fields, "tests": tuple((valid, data) for valid, data in fields["tests"])})


def _bench(folder: Path) -> Iterator[Case]:
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text())
        family = file.name.partition("---")[0]
        if family == file.name:
            family = file.name.partition("_")[0]
        tests = tuple((test["valid"], test["data"]) for test in content.get("tests", ()))
        yield Case(file.stem, family, content["schema"], tests)


def _suite(folder: Path) -> Iterator[Case]:
    """Returns the groups of the required tests. Adds `$schema` where it is missing: they would count as the latest."""
    for draft, uri in DRAFTS.items():
        for file in sorted((folder / draft).glob("*.json")):
            for group in json.loads(file.read_text()):
                schema = group["schema"]
                if isinstance(schema, dict) and "$schema" not in schema:
                    schema = {"$schema": uri, **schema}
                tests = tuple((test["valid"], test["data"]) for test in group["tests"])
                yield Case(f"{draft}/{file.stem}: {group['description']}", draft, schema, tests, of_suite=True)
