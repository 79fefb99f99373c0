"""`%%wb_program` runs a cell as a program on the loaded engine and returns its view."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "standins"))

from scripted_backend import ScriptedBackend

from workbench.errors import BackendLacks, UnknownParameter, UnknownVariable, WorkbenchError
from workbench.magics import session
from workbench.views import ProgramView


@pytest.fixture
def backend(shell, monkeypatch):
    backend = ScriptedBackend()
    monkeypatch.setattr(session, "engine", lambda name=None: backend)
    yield backend
    for name in ("s", "state", "subject", "kept", "words"):
        shell.ip.user_ns.pop(name, None)


def test_a_cell_is_a_program_and_its_view_is_the_result(shell, backend, tmp_path):
    shell.ip.user_ns["subject"] = "ice"
    view = shell.run(
        f'%%wb_program --max-tokens 7 -o state -T {tmp_path}/run.html\ns += f"On {{subject}}: " + gen("x")\nkept = s["x"] + "!"'
    )
    assert isinstance(view, ProgramView)
    assert "gen x  '<8>'" in str(view)
    assert backend.calls[0].params == {"max_new_tokens": 7}
    names = shell.ip.user_ns
    assert (names["state"]["x"], names["kept"], names["s"]) == ("<8>", "<8>!", names["state"])
    assert "gen" not in names
    assert "&lt;8&gt;" in (tmp_path / "run.html").read_text()


def test_words_work_inside_functions_and_comprehensions_and_a_name_of_ones_own_wins(shell, backend):
    shell.ip.user_ns["select"] = "mine"
    shell.run('%%wb_program -q\nwords = [gen(f"w{i}") for i in range(2)]\nfor w in words:\n    s += w\nassert select == "mine"')
    assert shell.ip.user_ns.pop("select") == "mine"
    assert [call.prompt.plain_text for call in backend.calls] == ["", "<0>"]


def test_config_sets_defaults_that_options_override(shell, backend):
    shell.run("%config WorkbenchMagics.max_new_tokens = 3")
    try:
        shell.run('%%wb_program -q\ns += gen("x")')
        shell.run('%%wb_program -q --max-tokens 4\ns += gen("x")')
    finally:
        shell.run("%config WorkbenchMagics.max_new_tokens = None")
    assert [call.params["max_new_tokens"] for call in backend.calls] == [3, 4]


@pytest.mark.parametrize(
    "cell, error, says",
    [
        ('s += "a"\ns += gen("x", temprature=1)', UnknownParameter, 'line 2 of the cell: s += gen("x", temprature=1)'),
        ('s += gen("x")\ns["y"]', UnknownVariable, 'line 2 of the cell: s["y"]'),
        ('s += gen("x", regex="a")', BackendLacks, 'line 1 of the cell: s += gen("x", regex="a")'),
    ],
)
def test_a_mistake_shows_two_lines_with_the_cells_line(shell, backend, cell, error, says):
    backend.features = frozenset({"completion"})
    with pytest.raises(error) as caught:
        shell.run(f"%%wb_program\n{cell}")
    lines = caught.value._render_traceback_()
    assert says in lines[0]
    assert len(lines) == 2


def test_options_are_checked_before_the_program_runs(shell, backend):
    for line in ("-o 1x", "-T nowhere/x.html", "--nonsense"):
        with pytest.raises(WorkbenchError):
            shell.run(f'%%wb_program {line}\ns += gen("x")')
    assert not backend.calls
