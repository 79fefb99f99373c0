"""The checker of prose finds what the rule forbids, at its line, and reports nothing in plain English."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

CI = Path(__file__).resolve().parents[3] / ".ci"


@pytest.fixture(scope="module")
def prose() -> Iterator[ModuleType]:
    sys.path.insert(0, str(CI))
    import prose

    yield prose
    sys.path.remove(str(CI))


def findings(prose: ModuleType, tmp_path: Path, source: str, suffix: str = ".py") -> list[tuple[int, str]]:
    path = tmp_path / f"source{suffix}"
    path.write_text(source)
    return [found for text in prose.read_texts(path) for found in prose.findings_of(text)]


def function(docstring: str, decorator: str = "") -> str:
    return f'{decorator}\ndef f():\n    """{docstring}"""\n'


@pytest.mark.parametrize(
    "docstring",
    [
        "Returns the page.",
        "Raises InvalidRequest if the prompt is empty.",
        "Names the place.",
        "Numbers `rows` from 0.",
        "Re-reads the file.",
        "Returns (start, end) of a run.",
        "Runs until the queue is empty. Where there is none, it returns at once.",
    ],
)
def test_a_docstring_that_begins_with_a_verb_passes(prose: ModuleType, tmp_path: Path, docstring: str) -> None:
    assert findings(prose, tmp_path, function(docstring)) == []


@pytest.mark.parametrize(
    "docstring",
    ["The page.", "Names of places.", "Tokens that are new.", "Return the page.", "What is left.", "Whether it runs.",
     "`page` is returned.", "This makes a page.", "Class of the page.", "(start, end) of a run.", "Is it open?"],
)  # fmt: skip
def test_one_that_does_not_is_found(prose: ModuleType, tmp_path: Path, docstring: str) -> None:
    found = findings(prose, tmp_path, function(docstring))
    if docstring == "Is it open?":
        assert found == []  # `Is` is a verb; questions are not checked
    else:
        assert [line for line, _ in found] == [3]


@pytest.mark.parametrize(
    "source, line",
    [
        ('class A:\n    x: int\n    """What is left."""\n', 3),
        ('class A:\n    x: int\n    """Holds what is left."""\n', 3),
        ('X = 1\n\n"""Of a row, its last token."""\n', 3),
        ('"""How a page is found."""\n', 1),
        ("x = 1\n# Whether it runs.\n", 2),
        ("# The pages are free.\n# Nobody uses them.\n", 2),
        ('raise ValueError(\n    f"the model knows {x} tokens"\n)\n', 2),
        ('f(hint="the row wants\\ntwo")\n', 1),
        (function("Returns what a server says."), 3),
        (function("Returns pages.\n\n    Nobody may change them."), 5),
    ],
)
def test_each_kind_of_text_is_read_and_the_line_is_right(prose: ModuleType, tmp_path: Path, source: str, line: int) -> None:
    found = findings(prose, tmp_path, source)
    assert found
    assert line in {at for at, _ in found}


@pytest.mark.parametrize(
    "source",
    [
        'class A:\n    x: int\n    """Pages that are free."""\n',
        function("Pages that are free.", "@property"),
        '"""Rows of a batch: the standard says so."""\n',
        "# The user wants a picture, and you know why.\n",
        "x = 1  # where rounding cannot decide\n",
        '# They are told apart by their names; "nobody" is a role.\n',
        "# `knows` is a field.\n",
        "# Of course it does.\n",
        "# Why two? One may be closed.\n",
        'raise ValueError("the prompt has 3 tokens, this engine holds 2")\n',
        "def test_a():\n    \"\"\"A page is found again.\"\"\"\n",
    ],
)  # fmt: skip
def test_plain_english_passes(prose: ModuleType, tmp_path: Path, source: str) -> None:
    assert findings(prose, tmp_path, source) == []


PAGE = """# What a view shows

A view draws events.
What you see is the log. Nobody may
write it.

```python
# Nobody reads this.
```

- Users who stream get deltas.
- What is left is dropped.

| who | asks |
|---|---|
"""


def test_a_page_is_read_without_its_code_and_its_headings_may_open_as_they_like(prose: ModuleType, tmp_path: Path) -> None:
    assert [line for line, _ in findings(prose, tmp_path, PAGE, ".md")] == [4, 12, 14, 14]


def test_comments_of_javascript_are_read(prose: ModuleType, tmp_path: Path) -> None:
    comment = "/**\n * Draws a row.\n * Nobody calls it.\n * @param x who\n */\n"
    source = f"// The tree.\nconst a = 'http://nobody'; // nobody calls it\n{comment}"
    assert [line for line, _ in findings(prose, tmp_path, source, ".js")] == [2, 5]


API = '''
class Base:
    """A base."""

    def load(self) -> int:
        """Reads the file."""

class Door(Base):
    """A door."""

    def open(self) -> None:
        """Opens it."""
        raise Closed("it is closed")

    def close(self) -> int:
        """Closes it and returns the number of users. Raises Closed if it is closed."""
        if self.x:
            raise Closed("twice")

    def bare(self): ...

    def _hidden(self): ...
'''


def test_the_public_api_says_what_it_returns_and_raises(prose: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "workbench").mkdir()
    (tmp_path / "workbench/__init__.py").write_text('_PUBLIC = {"Door": "workbench.door"}')
    (tmp_path / "workbench/door.py").write_text(API)
    found = [(line, finding.split("(")[0].strip()) for _, line, finding in prose.api_findings(tmp_path)]
    assert sorted(found) == [
        (5, "the docstring of Base.load does not say what it returns"),
        (11, "the docstring of Door.open does not name the errors it raises: Closed"),
        (20, "the public function Door.bare has no docstring"),
    ]
