"""Only a sequence's own methods write it, and each of them is called in one place."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings

import workbench
from tests.standins.random_runs import CONFIGS, OPERATIONS, open_core, perform
from workbench.engine.sequence import Sequence

ROOT = Path(workbench.__file__).parent
OWN = {field.name for field in fields(Sequence)}
CHANGES = {"append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse"}
WRITERS = {"apply": {"engine/scheduler.py": 1}, "admit": {"engine/batch.py": 1}, "leave": {"engine/batch.py": 1}}


def of_a_sequence(node: ast.AST) -> bool:
    """Returns whether this expression reads `seq.field`, or `victim.field`, of a sequence's own fields."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr in OWN
        and isinstance(node.value, ast.Name)
        and node.value.id in ("seq", "sequence", "victim", "other")
    )


def writes(tree: ast.AST) -> list[str]:
    """Returns the places that assign to a field of a sequence, delete a part of it, or change its list."""
    found = []
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [getattr(node, "target", None)]
        targets = [target.value if isinstance(target, ast.Subscript) else target for target in targets]
        is_change = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES
        if is_change and of_a_sequence(node.func.value):
            found.append(ast.unparse(node))
        found += [ast.unparse(node) for target in targets if of_a_sequence(target)]
    return found


def test_no_module_writes_a_field_of_a_sequence():
    found = {path.name: writes(ast.parse(path.read_text())) for path in (ROOT / "engine").glob("*.py")}
    assert {name: places for name, places in found.items() if places} == {}


@pytest.mark.parametrize(
    "code",
    [
        "seq.num_computed = 1",
        "seq.output_ids += ids",
        "del seq.output_ids[3:]",
        "seq.output_ids.append(4)",
        "victim.lease = None",
    ],
)
def test_the_check_sees_a_write(code):
    assert writes(ast.parse(code)) == [ast.unparse(ast.parse(code))]


@pytest.mark.parametrize("method", WRITERS)
def test_each_writer_has_one_caller(method):
    calls: Counter[str] = Counter()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (f"seq.{method}", f"victim.{method}"):
                calls[str(path.relative_to(ROOT))] += 1
    assert calls == WRITERS[method]


@settings(max_examples=25)
@given(config=CONFIGS, operations=OPERATIONS)
def test_in_random_runs_every_field_is_set_by_the_sequence_itself(config, operations):
    """The check does not depend on the variable's name."""
    own, plain = Sequence.apply.__code__.co_filename, Sequence.__setattr__
    strangers = set()

    def guarded(self, name, value):
        code = sys._getframe(1).f_code
        if code.co_filename != own and code.co_name != "__init__":
            strangers.add((code.co_filename, code.co_name, name))
        plain(self, name, value)

    Sequence.__setattr__ = guarded
    try:
        perform(open_core(config), operations)
    finally:
        del Sequence.__setattr__
    assert not strangers
