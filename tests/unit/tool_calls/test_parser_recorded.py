"""Outputs recorded from real models (the package canitoolcall) are read as their expected calls, whole and in pieces."""

from __future__ import annotations

import json
import random

import pytest

pytest.importorskip("canitoolcall", reason="the recorded outputs come with canitoolcall, of the extra test")

from canitoolcall.fixtures import Fixture, load_fixtures

from workbench.tool_calls import ToolCallParser, collect
from workbench.tool_calls.reasoning import ReasoningParser

V3 = ("v3-", "v31-", "vllm-v3-", "vllm-v31-")
"""Names of DeepSeek's outputs in the format of V3 and V3.1; later models have another one."""
FORMAT_OF = {"llama": "llama3", "mistral": "mistral", "qwen3-hermes": "qwen25", "deepseek": "deepseekv3"}


def format_of(fixture: Fixture) -> str:
    return "pythonic" if "x-llama-pythonic" in fixture.tags else FORMAT_OF[fixture.family]


def recorded() -> list[Fixture]:
    return [
        fixture for fixture in load_fixtures()
        if fixture.family in FORMAT_OF and (fixture.family != "deepseek" or fixture.id.partition("/")[2].startswith(V3))
    ]  # fmt: skip


def read(fixture: Fixture, pieces: list[str]) -> tuple[str, str, list[tuple[str, str]]]:
    """Returns reasoning, content and calls as the server separates them."""
    marks = "mistral" if "[THINK]" in fixture.raw_output else "qwen3"
    inside = "</think>" in fixture.raw_output and "<think>" not in fixture.raw_output
    reasoner = ReasoningParser(marks, starts_inside=inside or "thinking2507" in fixture.id)
    parts = [reasoner.push(piece) for piece in pieces] + [reasoner.finish()]
    tools = {tool["function"]["name"] for tool in fixture.tools or ()} or None
    parser = ToolCallParser(format_of(fixture), tools)
    events = [event for _, rest in parts for event in parser.push(rest)] + parser.finish()
    content, calls = collect(events)
    return "".join(reasoning for reasoning, _ in parts), content, [(call.name, call.arguments) for call in calls]


@pytest.mark.parametrize("fixture", recorded(), ids=lambda fixture: fixture.id)
def test_a_recorded_output_is_read_as_expected(fixture):
    reasoning, content, calls = found = read(fixture, [fixture.raw_output])
    if fixture.expected is None:
        assert not calls
    else:
        assert [(name, json.loads(text)) for name, text in calls] == [(c.name, c.arguments) for c in fixture.expected.tool_calls]
        assert content.strip() == (fixture.expected.content or "").strip()
        assert reasoning.strip() == (fixture.expected.reasoning_content or "").strip()
    for seed in range(5):
        rng = random.Random(seed)
        rest, pieces = fixture.raw_output, []
        while rest:
            num = rng.randint(1, 12)
            pieces.append(rest[:num])
            rest = rest[num:]
        assert read(fixture, pieces) == found
