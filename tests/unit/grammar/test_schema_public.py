"""Published schemas, and the standard's own tests: what is accepted is valid, and nearly all that is valid is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from workbench.bench.schemas.measure import Measure, Row
from workbench.bench.schemas.readers import open_reader
from workbench.bench.schemas.report import DOCUMENTED, verdict
from workbench.bench.schemas.sets import find_cases
from workbench.grammar import Vocabulary

pytestmark = pytest.mark.heavy

DATA = Path(__file__).parents[2] / "data" / "schemas"


def measured(file: str, vocabulary: Vocabulary, num_draws: int) -> list[Row]:
    measure = Measure("workbench", open_reader("workbench", vocabulary), vocabulary)
    return [measure.row(case, num_draws) for case in find_cases([DATA / file])]


@pytest.fixture(scope="module")
def published(vocabulary: Vocabulary) -> list[Row]:
    return measured("jsonschemabench.jsonl.gz", vocabulary, num_draws=4)


@pytest.fixture(scope="module")
def groups(vocabulary: Vocabulary) -> list[Row]:
    return measured("test_suite.jsonl.gz", vocabulary, num_draws=1)


def found(rows: Sequence[Row], key: str) -> list[str]:
    return [f"{row['name']}: {one['why']}: {one['text']}" for row in rows for one in row.get(key, ())]


def test_nearly_all_published_schemas_are_taken(published: list[Row]) -> None:
    refused = [f"{row['name']}: {row['why']}" for row in published if not row["taken"]]
    assert len(refused) <= 0.03 * len(published), "\n".join(refused)


def test_no_text_drawn_at_random_is_invalid(published: list[Row], groups: list[Row]) -> None:
    assert sum(row.get("draws", 0) for row in published) > 1000
    assert not found([*published, *groups], "bad")


def test_invalid_instances_of_published_schemas_are_rejected(published: list[Row]) -> None:
    assert not found(published, "accepted")


def test_valid_instances_of_published_schemas_are_taken(published: list[Row]) -> None:
    num_valid = sum(row.get("valid", 0) for row in published)
    rejected = [
        f"{row['name']}: {one['fits']} ✂ {one['then']}"
        for row in published
        for one in row.get("rejected", ())
        if one["why"] not in DOCUMENTED
    ]
    assert len(rejected) <= 0.01 * num_valid, "\n".join(rejected)


KNOWN = {
    # A vocabulary that turns keywords off is not read: they hold all the same.
    "draft2020-12/vocabulary: schema that uses custom metaschema with with no validation vocabulary",
}


def test_no_group_of_the_standards_tests_is_decided_wrongly(groups: list[Row]) -> None:
    wrong = [row for row in groups if verdict(row) == "wrong" and row["name"] not in KNOWN]
    assert not wrong, "\n".join(row["name"] for row in wrong)


def test_nearly_all_groups_of_the_standards_tests_are_taken(groups: list[Row]) -> None:
    refused = [f"{row['name']}: {row['why']}" for row in groups if verdict(row) == "refused"]
    assert len(refused) <= 0.1 * len(groups), "\n".join(refused)
