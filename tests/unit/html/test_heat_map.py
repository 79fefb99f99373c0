"""A heat map has a square for every value, shaded by it, and its number."""

from __future__ import annotations

from xml.etree import ElementTree

from workbench.html.heat_map import TOP, heat_map


def test_every_value_has_a_square_a_shade_and_a_number():
    svg = heat_map("a < b", ["one", "two"], ["x", "y", "z"], [[0, 0.5, 1], [-1, 2, 0.25]])
    nodes = list(ElementTree.fromstring(svg))
    squares = [node for node in nodes if node.tag.endswith("rect")]
    shades = [float(node.get("fill-opacity", "")) for node in squares]
    assert shades == [0.04, 0.52, 1.0, 0.04, 1.0, 0.28]
    assert len({(node.get("x"), node.get("y")) for node in squares}) == 6
    assert min(float(node.get("y", "")) for node in squares) == TOP + 1
    words = [node.text for node in nodes if node.tag.endswith("text")]
    assert words == ["a < b", "x", "y", "z", "one", "0", "50", "100", "two", "0", "100", "25"]
