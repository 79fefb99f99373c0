"""Under any constraint, the output of a random model at temperature 1 is valid, or a prefix of something valid.

The judges are independent of our grammars: `jsonschema` with formats, `re.fullmatch`, and the `lark` package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import jsonschema
import lark
import pytest
import regex
from corpus_grammars import GRAMMARS, to_lark
from corpus_regexes import REGEXES
from corpus_schemas import by_hand, drawn
from formats import FORMATS
from tiny_text import END, write_text_model

import workbench

CLOSING = {END: 6.0, '"': 4.0, "}": 4.0, "]": 4.0, '"}': 4.0, ".": 2.0, "Ċ": 2.0, ")": 4.0}
"""Biases for closing tokens, so that texts end: the model itself prefers none."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = write_text_model(tmp_path_factory.mktemp("model"))
    args = {"load_format": "dummy", "dtype": "float32", "max_total_tokens": 60_000, "random_seed": 0, "num_threads": 1}
    with workbench.Engine(str(folder), max_running_requests=64, disable_radix_cache=True, event_log_size=0, **args) as engine:
        yield engine


Output = tuple[int, str, bool]
"""(name of the constraint, the text, whether it finished)."""


def generate(engine: workbench.Engine, kind: str, constraints: Sequence[Any], rounds: int, max_new_tokens: int) -> list[Output]:
    """Runs each constraint a number of times, all in one batch."""
    bias = {engine.tokenizer.convert_tokens_to_ids(token): value for token, value in CLOSING.items()}
    params = [
        {kind: constraint, "temperature": 1.0, "max_new_tokens": max_new_tokens, "logit_bias": bias, "seed": 1000 * turn + i}
        for i, constraint in enumerate(constraints)
        for turn in range(rounds)
    ]
    results = engine.generate(input_ids=[[1 + i % 250] for i in range(len(params))], sampling_params=params)
    ends = [result["meta_info"]["finish_reason"] for result in results]
    assert not [end for end in ends if end["type"] == "abort"]
    return [(i // rounds, r["text"], end["type"] == "stop") for i, (r, end) in enumerate(zip(results, ends, strict=True))]


def judge(outputs: list[Output], constraints: Sequence[Any], is_valid: Callable, is_beginning: Callable) -> None:
    wrong = [
        (constraints[i], text, "finished" if finished else "cut")
        for i, text, finished in outputs
        if not (is_valid if finished else is_beginning)(i, text)
    ]
    assert not wrong, f"{len(wrong)} of {len(outputs)} outputs are wrong, first of all {wrong[:5]}"
    assert sum(finished for *_, finished in outputs) >= 0.8 * len(outputs)


# -- JSON schema --------------------------------------------------------------------------------------------------


def closed(text: str) -> tuple[Any, list[str | int]] | None:
    """Returns a value that begins as this unfinished JSON does, and the path to where it breaks off; None if there is none.

    Written without our scanner: tries every continuation that closes a string, a number or a word, and then the brackets.
    """
    stack: list[str] = []
    in_string = escaped = False
    for char in text:
        if in_string:
            in_string, escaped = escaped or char != '"', char == "\\" and not escaped
        elif char == '"':
            in_string = True
        elif char in "{[":
            stack.append("}" if char == "{" else "]")
        elif char in "}]":
            stack.pop()
    strings = [f'{more}"' for more in ("", '"', "0", "00", "000", "0000", "u0000", "n")] if in_string else [""]
    words = ["", "0", *("true"[i:] for i in range(1, 5)), *("false"[i:] for i in range(1, 6)), *("null"[i:] for i in range(1, 5))]
    for more in strings:
        for word in [""] if in_string else [*words, ".0", "+0"]:
            for rest in ("", "0", ": 0", " 0", '"": 0', ' "": 0'):
                whole = text + more + word + rest + "".join(reversed(stack))
                try:
                    return json.loads(whole), _last_path(json.loads(whole), len(stack))
                except ValueError:
                    continue
    return None


def _last_path(value: Any, depth: int) -> list[str | int]:
    path: list[str | int] = []
    for _ in range(depth):
        if not value:
            break
        path.append(list(value)[-1] if isinstance(value, dict) else len(value) - 1)
        value = value[path[-1]]
    return path


def judge_schemas(engine: workbench.Engine, schemas: list[Any], rounds: int) -> None:
    validators = [jsonschema.Draft202012Validator(schema, format_checker=FORMATS) for schema in schemas]

    def is_beginning(i: int, text: str) -> bool:
        """Returns whether the part before the place where it breaks off is valid."""
        found = closed(text)
        if found is None:
            return False
        value, path = found
        errors = validators[i].iter_errors(value)
        return all(list(error.absolute_path) == path[: len(error.absolute_path)] for error in errors)

    def is_valid(i: int, text: str) -> bool:
        try:
            return validators[i].is_valid(json.loads(text))
        except ValueError:
            return False

    judge(generate(engine, "json_schema", schemas, rounds, 200), schemas, is_valid, is_beginning)


def test_three_hundred_schemas(engine):
    schemas = [*by_hand(), *drawn(180)]
    assert len(schemas) >= 300
    judge_schemas(engine, schemas, rounds=2)


@pytest.mark.slow
def test_three_thousand_schemas(engine):
    judge_schemas(engine, by_hand(), rounds=20)
    judge_schemas(engine, drawn(3000, seed=1), rounds=2)


# -- regular expressions ------------------------------------------------------------------------------------------


def judge_regexes(engine: workbench.Engine, rounds: int) -> None:
    exact, partial = [re.compile(pattern) for pattern in REGEXES], [regex.compile(pattern) for pattern in REGEXES]

    def is_beginning(i: int, text: str) -> Any:
        return partial[i].fullmatch(whole(text), partial=True)

    judge(generate(engine, "regex", REGEXES, rounds, 120), REGEXES, lambda i, text: exact[i].fullmatch(text), is_beginning)


def whole(text: str) -> str:
    """Returns the text without the half character at which it may have been cut."""
    return text.rstrip("\ufffd")


def test_a_hundred_regexes(engine):
    assert len(set(REGEXES)) >= 100
    judge_regexes(engine, rounds=4)


@pytest.mark.slow
def test_a_hundred_regexes_many_times(engine):
    judge_regexes(engine, rounds=60)


# -- EBNF ---------------------------------------------------------------------------------------------------------


def judge_grammars(engine: workbench.Engine, rounds: int) -> None:
    parsers = [lark.Lark(to_lark(grammar), start="r_root", parser="earley", lexer="dynamic") for grammar in GRAMMARS]

    def fits(i: int, text: str, *ends: type[Exception]) -> bool:
        try:
            parsers[i].parse(text)
        except lark.exceptions.LarkError as error:
            return isinstance(error, ends)
        return True

    outputs = generate(engine, "ebnf", GRAMMARS, rounds, 80)
    judge(outputs, GRAMMARS, fits, lambda i, text: fits(i, whole(text), lark.exceptions.UnexpectedEOF))


def test_fifty_grammars(engine):
    assert len(set(GRAMMARS)) >= 50
    judge_grammars(engine, rounds=2)


@pytest.mark.slow
def test_fifty_grammars_many_times(engine):
    judge_grammars(engine, rounds=40)


@pytest.mark.parametrize(
    "text, is_json", [('{"a": [1, {"b": "x', True), ("[tr", True), ('{"a', True), ('{"a"', True), ("[1,", True), ("-", True),
                      ('{"a": }', False), ("[1 2", False), ('"\\u12', True), ("1.", True), ("{1", False), ("[1e", True)],
)  # fmt: skip
def test_the_completion_check_knows_the_beginnings_of_json(text: str, is_json: bool):
    assert (closed(text) is not None) == is_json
