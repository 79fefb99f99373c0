"""A chart of lines puts every value where its axis has it, and names everything."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from workbench.html.line_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, line_chart, ticks_from_zero


def paths(svg: str) -> list[list[tuple[float, float]]]:
    """Returns the corners of each line of data; grid lines and the key have letters other than M and L."""
    drawn = [node.get("d", "") for node in ElementTree.fromstring(svg) if node.tag.endswith("path")]
    found = [re.findall(r"[ML]([\d.]+) ([\d.]+)", d) for d in drawn if re.fullmatch(r"[ML\d. ]+", d)]
    return [[(float(x), float(y)) for x, y in corners] for corners in found]


def test_linear_and_logarithmic_values_have_their_places():
    svg = line_chart("t", Axis("x", [1, 10, 100], is_log=True), Axis("y", [0, 50]), {"one": [(1, 0), (10, 25), (100, 50)]})
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    assert paths(svg) == [[(LEFT, bottom), ((LEFT + right) / 2, (TOP + bottom) / 2), (right, TOP)]]


def test_all_words_are_there_and_escaped():
    svg = line_chart("a < b", Axis("x", [0, 2000]), Axis("y", [0, 1], words="{:.0%}".format), {"one": [(0, 0)], "two": [(1, 1)]})
    words = [node.text for node in ElementTree.fromstring(svg) if node.tag.endswith("text")]
    assert set(words) == {"a < b", "x", "y", "0", "2,000", "0%", "100%", "one", "two"}
    assert len(paths(svg)) == 2
    assert len({node.get("stroke-dasharray") for node in ElementTree.fromstring(svg)} - {None}) == 2


@pytest.mark.parametrize("highest", [0.03, 0.7, 1, 1.3, 2.5, 9.9, 40, 61, 399, 12345])
def test_ticks_begin_at_zero_and_end_just_above(highest):
    ticks = ticks_from_zero(highest)
    assert ticks[0] == 0
    assert highest * 0.999 <= ticks[-1] <= highest * 1.34
    assert 4 <= len(ticks) <= 8
