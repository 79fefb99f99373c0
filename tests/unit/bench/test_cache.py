"""The benchmark of the cache measures a full pool, evictions at every request, a tree of the size asked for."""

from __future__ import annotations

import random

from workbench.bench.cache import FAN_OUT, full_core
from workbench.bench.commands import run


def test_the_tree_is_full_and_of_the_size_asked_for():
    core, stored = full_core(900, random.Random(0))
    assert len(core.cache.tree.nodes) == 900
    assert len(stored) == 100 * FAN_OUT
    assert core.cache.pool.num_free == 0
    assert core.cache.match(stored[5], "", 99).num_tokens == len(stored[5])
    core.cache.check()


def test_every_figure_is_in_the_table(capsys):
    assert run("cache", ["--nodes", "300", "600", "--times", "20"]) == 0
    head, _, *rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(head) == 10
    assert [row[0] for row in rows] == ["| 300", "| 600"]
    assert all(float(figure.strip("| ")) > 0 for row in rows for figure in row[1:])
