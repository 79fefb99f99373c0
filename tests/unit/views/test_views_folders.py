"""Every view is a folder with the same roles, and its style sheet does not touch another view."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import workbench.views
from workbench.html.parts import CARD, View
from workbench.html.styles import stylesheet
from workbench.views.live import VIEWS

HERE = Path(workbench.views.__file__).parent
ROLES = {"__init__.py", "fold.py", "picture.py", "view.css", "view.js", "layout.js"}
"""Files that every view has."""
FURTHER = {"state.py", "drawn.py", "words.py", "widget.py"}
"""Roles that a view has if it needs them; any other Python file is about something that only this view has."""
OWN = {"throughput": {"charts.py", "figure.py"}, "tokens": {"colours.py", "marks.py"}}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_a_folder_with_the_usual_files(name: str) -> None:
    files = {path.name for path in (HERE / name).iterdir() if path.is_file()}
    assert files >= ROLES
    assert {file for file in files if file.endswith(".py")} - ROLES - FURTHER == OWN.get(name, set())


def test_every_folder_with_a_script_is_in_the_table_of_views() -> None:
    assert {path.parent.name for path in HERE.glob("*/view.js")} == set(VIEWS)


@pytest.mark.parametrize("path", [*HERE.rglob("*.py"), *HERE.rglob("*.js"), *HERE.rglob("*.css")], ids=lambda path: str(path))
def test_no_file_is_long(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= 300
    assert max(map(len, lines), default=0) <= 130


def classes(path: Path) -> set[str]:
    return set(re.findall(r"\.(wb-[a-z-]+)", path.read_text("utf-8")))


def test_no_two_views_give_rules_to_the_same_class() -> None:
    """Checks that a class stands in `card.css`, in `live.css`, or in one view's sheet: style sheets hold for the whole page."""
    shared = classes(CARD) | classes(HERE / "live" / "live.css")
    owners: dict[str, set[str]] = {}
    for name in VIEWS:
        for found in classes(HERE / name / "view.css") - shared:
            owners.setdefault(found, set()).add(name)
    assert len(owners) > 40
    assert {found: names for found, names in owners.items() if len(names) > 1} == {}


def test_a_style_sheet_is_short_and_holds_what_it_imports(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("/* A note; with { marks. */\n.a :hover > b {\n  margin: 0 1em;\n  color: red;\n}\n")
    (tmp_path / "b.css").write_text('@import "./a.css";\n.b,\n.c {\n  content: "x";\n}\n')
    assert stylesheet(tmp_path / "b.css") == '.a :hover > b{margin:0 1em;color:red;}.b,.c{content:"x";}'


def test_a_card_brings_the_rules_of_its_view_and_no_other() -> None:
    class Plain(View):
        def body(self) -> str:
            return ""

    class Styled(Plain):
        style = HERE / "kv" / "view.css"

    assert ".wb-soft" in Plain().to_html()
    assert ".wb-pages" not in Plain().to_html()
    assert ".wb-pages" in Styled().to_html()
    assert ".wb-lane" not in Styled().to_html()
