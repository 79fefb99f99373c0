"""GSM8K's files and the numbers in answers."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from workbench.errors import InvalidRequest
from workbench.eval import gsm8k


@pytest.mark.parametrize(
    "text, number",
    [
        ("She sells 9 * 2 = $<<9*2=18>>18 a day.\n#### 18", 18), ("#### 1,234", 1234), ("#### -5 of 7", -5), ("It is 3-5.", 5),
        ("5 and 7.50 dollars.", "7.50"), ("It is -3", -3), ("none", None), ("#### none but 4", 4), ("1/2", 2),
    ],
)  # fmt: skip
def test_the_number_of_an_answer(text, number):
    assert gsm8k.number_in(text) == (None if number is None else Decimal(number))


def test_a_whole_number_equals_itself_with_a_fraction():
    assert gsm8k.number_in("$18.00") == gsm8k.number_in("#### 18")


def test_a_file_is_read_line_by_line(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text('{"question": "1 + 1?", "answer": "It is 2.\\n#### 2"}\n\n{"question": "2?", "answer": "#### 2", "x": 1}\n')
    assert [one["question"] for one in gsm8k.read(path)] == ["1 + 1?", "2?"]
    assert gsm8k.example(gsm8k.read(path)[0], with_answer=True) == "Question: 1 + 1?\nAnswer: It is 2.\n#### 2\n\n"


@pytest.mark.parametrize("line", ["no json", "[1]", '{"question": "a"}', json.dumps({"question": "a", "answer": "none"})])
def test_a_line_of_another_form_is_named(tmp_path, line):
    path = tmp_path / "test.jsonl"
    path.write_text('{"question": "a", "answer": "#### 1"}\n' + line)
    with pytest.raises(InvalidRequest, match="line 2 of"):
        gsm8k.read(path)
