"""A page reads from a recording, in Node, exactly what the folds drew."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from random_runs import facts, squeezed

from workbench.views.live import VIEWS, Source
from workbench.views.live.opening import open_reader
from workbench.views.recorded.bundle import scripts
from workbench.views.recorded.replay import SHARED, moments_of, plain, replay
from workbench.views.recorded.track import change_of

TRACK = Path(__file__).parents[2] / "workbench/views/recorded/track.js"


def in_node(tmp_path, script, given):
    (tmp_path / "given.json").write_text(json.dumps(given))
    (tmp_path / "run.mjs").write_text(
        f'import {{ changed, valuesOf }} from "{TRACK.as_uri()}";\nimport {{ readFileSync }} from "node:fs";\n'
        f'const given = JSON.parse(readFileSync("given.json", "utf8"));\nconsole.log(JSON.stringify({script}));\n'
    )
    done = subprocess.run(["node", "run.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_changes_are_read_as_they_are_written(tmp_path):
    pairs = [
        [{"a": 1, "b": [1, 2]}, {"a": 1, "c": None}], [[1, 2, 3], [2, 3, 4, 5]], [[1, 2, 3], [1]], [[], [1]], [[1, 2], []],
        [{"a": {"b": {"c": 1}}}, {"a": {"b": {"c": [2]}}}], [[[1, "x"], [2, "y"]], [[1, "x"], [2, "z"], [3, "w"]]], [0, False],
    ]  # fmt: skip
    given = [[old, change_of(old, new)] for old, new in pairs]
    assert in_node(tmp_path, "given.map(([old, change]) => changed(old, change))", given) == [new for _, new in pairs]


@pytest.mark.parametrize("name", [name for name in VIEWS if name != "template"])
def test_a_page_shows_at_every_moment_what_the_fold_showed(name, tmp_path):
    core = squeezed()
    source = Source(core.log, facts(core), lambda: None)
    _, events = core.log.read()
    moments = moments_of(events, 40)
    tape = replay(open_reader(source, name, {}), events, moments)
    read = in_node(
        tmp_path,
        "given.moments.map((_, i) => { const state = valuesOf(given.states)(i);"
        " return {...state, ...(state.shown === undefined ? {} : valuesOf(given.choices[state.shown])(i))}; })",
        {"moments": [0] * len(moments), **tape},
    )
    fold, done = open_reader(source, name, {}).fold, 0
    for moment, state in zip(moments, read, strict=True):
        for event in events[done : moment.num_events]:
            fold.apply(event)
        done = moment.num_events
        state.pop("shown", None)
        assert state == plain(fold)
    assert set(SHARED) >= {"requests", "newest"}


def test_the_joined_scripts_of_a_page_have_no_error(tmp_path):
    (tmp_path / "page.mjs").write_text("const document = { querySelectorAll: () => [] };\n" + scripts(tuple(VIEWS)))
    done = subprocess.run(["node", "page.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
