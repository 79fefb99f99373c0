from __future__ import annotations

import re
import time

import nbformat
import pytest
from nbformat import v4

from workbench.bench import demo
from workbench.bench.demo import cell_text, main


def test_a_cell_shows_streams_plain_text_and_errors_without_colours():
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "one\n"},
        {"output_type": "display_data", "data": {"text/html": "<b>no</b>", "text/plain": "\x1b[31mtwo\x1b[0m"}},
        {"output_type": "display_data", "data": {"image/png": "..."}},
        {"output_type": "error", "traceback": [], "ename": "QueueFull", "evalue": "three"},
    ]
    assert cell_text(outputs) == "one\ntwo\nQueueFull: three"


def write(path, *cells):
    nbformat.write(v4.new_notebook(cells=list(cells)), path)
    return str(path)


@pytest.mark.process
def test_a_notebook_is_run_and_printed_and_left_as_it_was(tmp_path, capsys):
    path = tmp_path / "a.ipynb"
    write(path, v4.new_markdown_cell("# Title"), v4.new_code_cell("print('a')\n6 * 7"))
    before = path.read_bytes()
    assert main([str(path)]) == 0
    assert capsys.readouterr().out.split() == ["#", "Title", ">>>", "print('a')", ">>>", "6", "*", "7", "a", "42"]
    assert path.read_bytes() == before


TOKENS = """
import time
from IPython.core.magic import register_cell_magic

@register_cell_magic
def wb_gen(line, cell):
    print("a token", flush=True)
    time.sleep(0.5)
"""


@pytest.mark.process
def test_a_long_cell_is_not_silent_and_the_first_token_is_timed_from_the_start(tmp_path, capsys, monkeypatch):
    path = write(tmp_path / "a.ipynb", v4.new_code_cell(TOKENS), v4.new_code_cell("%%wb_gen\nA prompt"))
    monkeypatch.setenv("WORKBENCH_BEGAN", str(time.time() - 1000))
    monkeypatch.setattr(demo, "SILENCE_S", 0.1)
    assert main([path]) == 0
    printed = capsys.readouterr()
    assert 1000 <= int(re.fullmatch(r"The first token came (\d+) s after the start.", printed.out.splitlines()[-1])[1]) < 1100
    assert re.search(rf"^ +\d+ s  opening {re.escape(path)}$", printed.err, re.M)
    assert re.search(r"^ +\d+ s  a token$", printed.err, re.M)


@pytest.mark.process
def test_a_failing_cell_fails_the_demo_with_its_error(tmp_path, capsys):
    path = write(tmp_path / "a.ipynb", v4.new_code_cell("raise ValueError('no good')"), v4.new_code_cell("print('never')"))
    assert main([path]) == 1
    captured = capsys.readouterr()
    assert "ValueError: no good" in captured.err
    assert "never'" not in captured.out


def test_a_missing_notebook_prints_the_usage(capsys):
    assert main(["/nowhere.ipynb"]) == 2
    assert "usage:" in capsys.readouterr().err
