"""Constraints that once were decided wrongly, each with a text and the right decision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import InvalidRequest
from workbench.grammar import Vocabulary, compile_grammar
from workbench.types import SamplingParams
from workbench.why.lint.linter import lint

FILE = Path(__file__).parents[2] / "data/constraint_cases.jsonl"
CASES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def named(case: dict[str, Any]) -> str:
    return f"{case['kind'][:60]}: {case['input'].get('text', '')[:30]}"


@pytest.mark.process
@pytest.mark.parametrize("case", [case for case in CASES if case["check"] != "lint"], ids=named)
def test_a_text_is_taken_or_not_as_its_constraint_says(case: dict[str, Any], vocabulary: Vocabulary) -> None:
    constraint = dict(case["input"])
    data = constraint.pop("text").encode()
    spec = SamplingParams.make(constraint).constraint
    assert spec is not None
    try:
        matcher = compile_grammar(spec, vocabulary).start()
    except InvalidRequest:  # no text at all is valid for it
        is_taken = False
    else:
        is_taken = matcher.accept_bytes(data) == len(data) and matcher.is_complete
    assert is_taken == (case["check"] == "accepts")


@pytest.mark.parametrize("case", [case for case in CASES if case["check"] == "lint"], ids=named)
def test_lint_has_something_to_say(case: dict[str, Any], vocabulary: Vocabulary) -> None:
    spec = SamplingParams.make(case["input"]).constraint
    assert spec is not None
    assert any(finding.kind in ("runaway", "narrower") for finding in lint(spec, vocabulary, "xgrammar").findings)
