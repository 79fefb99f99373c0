"""Reasoning is separated from the answer, the same however the text is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import InvalidRequest
from workbench.tool_calls.reasoning import ReasoningParser

CASES = [
    ("qwen3", None, "<think>\nhm < think\n</think>\n\nHello  ", ("hm < think", "Hello  ")),
    ("qwen3", None, "<think>\n\n</think>\n\nhi", ("", "hi")),
    ("qwen3", None, "plain <think>x</think>", ("", "plain <think>x</think>")),
    ("qwen3", None, "<thi", ("", "<thi")),
    ("qwen3", None, "<think>cut off </thi", ("cut off </thi", "")),
    ("qwen3", True, "inside from the start", ("inside from the start", "")),
    ("deepseek-r1", None, "hm\n</think>\nok", ("hm", "ok")),
    ("deepseek-r1", False, "ok", ("", "ok")),
    ("mistral", None, "[THINK]a [b] c[/THINK]d", ("a [b] c", "d")),
]


@pytest.mark.parametrize("name, inside, text, expected", CASES)
@given(data=st.data())
def test_reasoning_and_answer(name, inside, text, expected, data):
    parser = ReasoningParser(name, inside)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts = [parser.push(text[start:end]) for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)] + [parser.finish()]
    assert ("".join(reasoning for reasoning, _ in parts), "".join(rest for _, rest in parts)) == expected


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(InvalidRequest, match="deepseek-r1"):
        ReasoningParser("r2")
