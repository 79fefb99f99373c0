"""Parts of pages: bars, tables, durations and sizes in words."""

from __future__ import annotations

import re

import pytest

from workbench.html.parts import BarPart, bar, duration, lines, size, table


def test_the_bar_is_full_however_small_the_numbers():
    shares = [
        float(share)
        for share in re.findall(r"flex:([0-9.e+-]+) ", bar([BarPart("a", 0.001, "", "wait"), BarPart("b", 0.003, "", "decode")]))
    ]
    assert shares == [25.0, 75.0]
    assert "flex" not in bar([BarPart("nothing", 0.0, "0", "wait")])


@pytest.mark.parametrize(
    "seconds, words",
    [(0.0042, "4.2 ms"), (0.25, "250 ms"), (1.5, "1.50 s"), (59.96, "60.0 s"), (75, "1 min 15 s"), (7260, "2 h 1 min")],
)
def test_durations_are_written_for_people(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize("num_bytes, words", [(10, "10 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (5 << 40, "5.0 TiB")])
def test_sizes_are_written_for_people(num_bytes, words):
    assert size(num_bytes) == words


def test_text_tables_stand_in_columns_and_html_tables_escape():
    assert lines(("a", "b"), [("x", "1"), ("long", "1000")], numeric=(1,)) == "a        b\nx        1\nlong  1000"
    assert "&lt;b&gt;" in table(("h",), [("<b>",)])
