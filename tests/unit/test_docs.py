"""The generated pages match the code; the hand-written ones name only things that exist."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest

from workbench.bench.commands import BENCHMARKS
from workbench.config import ServerArgs
from workbench.lang.backends.anthropic import Anthropic
from workbench.lang.backends.base import ALL_PARAMS, Feature
from workbench.model.registry import FAMILIES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_page_has_a_row_for_every_field(generate):
    rows = re.findall(r"^\| `(\w+)` \| `--([\w-]+)` \|", generate.configuration_page(), re.MULTILINE)
    assert rows == [(f.name, f.name.replace("_", "-")) for f in dataclasses.fields(ServerArgs)]


def test_rows_of_the_configuration_page_have_all_columns(generate):
    own, later = generate.configuration_page().split("## Names of the reference")
    for page, columns in ((own, 6), (later, 4)):
        rows = [line for line in page.splitlines() if line.startswith("| `")]
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {columns + 1}


def test_the_page_of_the_backends_has_a_mark_for_what_each_can_do(generate):
    page = generate.backends_page()
    features, params = (
        [line.strip("|").split("|") for line in part.splitlines()] for part in re.findall(r"(?:^\|.*\n)+", page, re.M)
    )
    names = [cell.strip() for cell in features[0]][1:]
    rows = {row[0].strip(" `"): [cell.strip() == "✓" for cell in row[1:]] for row in features[2:] + params[2:]}
    assert set(get_args(Feature)) | ALL_PARAMS | {"num_api_spec_tokens"} == set(rows)
    able = {name for name, has in rows.items() if has[names.index("Anthropic")]}
    assert able == Anthropic.features | Anthropic.params | {"num_api_spec_tokens"}
    assert not rows["num_api_spec_tokens"][names.index("RuntimeEndpoint")]
    assert rows["chat"][names.index("OpenAI, text")] is False


def test_the_language_page_has_a_row_with_a_meaning_for_every_public_word(generate):
    import workbench
    from workbench.lang.state import ProgramState

    rows = dict(re.findall(r"^\| `([\w.]+)[^|]*` \| (.*) \|$", generate.language_page().replace("\\|", "/"), re.MULTILINE))
    words = {
        name for name, module in workbench._PUBLIC.items() if module.startswith("workbench.lang") and "backends" not in module
    }
    assert words <= {name.removeprefix("workbench.") for name in rows}
    assert {f"s.{name}" for name in vars(ProgramState) if not name.startswith("_")} <= set(rows)
    assert all(len(meaning) > 10 for meaning in rows.values())


def test_the_page_of_the_views_has_a_row_for_every_view_and_its_options(generate):
    from workbench.views.live import HELP, VIEWS

    rows = {line.split("`")[1]: line for line in generate.views_page().splitlines() if line.startswith("| `%wb")}
    assert list(rows) == [f"%wb {name}" for name in HELP]
    assert all(f"`{option}`" in rows[f"%wb {name}"] for name, kind in VIEWS.items() for option in kind.arguments or ())
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows.values())


def test_the_page_of_the_models_is_current_and_names_a_test_for_every_family(generate):
    page = (ROOT / "docs/supported_models.md").read_text(encoding="utf-8")
    assert page == generate.dated_models_page(ROOT, "1999-01-01"), "write it again: python docs/generate.py"
    assert len(re.findall(r"\| `test_\w+\.py` \|$", page, re.MULTILINE)) == len(FAMILIES)


def test_the_list_of_models_keeps_its_date_while_it_says_the_same(generate, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    path = tmp_path / "docs/supported_models.md"
    path.write_text(generate.dated_models_page(tmp_path, "2001-02-03"), encoding="utf-8")
    assert "on 2001-02-03." in path.read_text(encoding="utf-8")
    assert generate.dated_models_page(tmp_path, "2004-05-06") == path.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace("Llama", "Lama"), encoding="utf-8")
    assert "on 2004-05-06." in generate.dated_models_page(tmp_path, "2004-05-06")


def test_the_module_page_lists_every_module_with_its_summary(generate, tmp_path):
    package = tmp_path / "pkg"
    (package / "sub").mkdir(parents=True)
    (package / "a.py").write_text('"""First a | b.\n\nMore."""')
    (package / "sub" / "b.py").write_text('"""Second\nline."""')
    page = generate.modules_page(package)
    assert "| `a.py` | First a \\| b. |" in page
    assert "| `b.py` | Second line. |" in page
    assert page.index("## pkg\n") < page.index("## pkg.sub\n")


def test_generated_pages_replace_stale_ones(generate, tmp_path):
    root, out = tmp_path / "root", tmp_path / "out"
    (root / "workbench").mkdir(parents=True)
    (root / "notebooks").mkdir()
    (root / "notebooks/00-a.ipynb").write_text("{}")
    out.mkdir()
    (out / "99-gone.ipynb").write_text("{}")
    generate.write_all(out, root)
    pages = ["backends.md", "configuration.md", "language.md", "modules.md", "views.md"]
    assert sorted(path.name for path in out.iterdir()) == ["00-a.ipynb", *pages]


def rooms_of_the_architecture_page() -> list[str]:
    """Returns the modules and packages in the table of rooms, from the first row to the last."""
    section = (ROOT / "docs/architecture.md").read_text().split("## Layers")[1].split("\n## ")[0]
    rows = re.findall(r"^\| \d[^|]*\|([^|]*)\|", section, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def test_the_table_of_rooms_names_every_module_and_package_once():
    found = [path for path in (ROOT / "workbench").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    assert sorted(rooms_of_the_architecture_page()) == sorted({path.stem for path in found} - {"__init__"})


def test_the_table_of_rooms_has_the_order_of_the_import_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    height = {name: -i for i, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}
    heights = [(height[name], name) for name in rooms_of_the_architecture_page()]
    higher = [(lower, upper) for lower, upper in pairwise(heights) if lower[0] > upper[0]]
    assert not higher, "the table goes from the lowest layer to the highest"


def test_every_file_that_the_architecture_page_names_exists():
    named = re.findall(r"`((?:\w+/)+\w+\.(?:py|cpp|js))`", (ROOT / "docs/architecture.md").read_text())
    places = [ROOT / "workbench", ROOT / "workbench/grammar", ROOT]
    assert len(named) > 50
    assert not [name for name in named if not any((place / name).is_file() for place in places)]


def test_every_word_of_the_glossary_has_one_meaning_and_a_place():
    section = (ROOT / "docs/architecture.md").read_text().split("## Words")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \| (.*?) \| `([\w/]+\.py)` \|$", section, re.MULTILINE)
    words = [word for word, _, _ in rows]
    assert len(words) == section.count("\n|") - 2 == len(set(words))
    assert not [place for _, _, place in rows if not (ROOT / "workbench" / place).is_file()]


def test_the_benchmark_page_names_every_benchmark():
    page = (ROOT / "docs/benchmarks.md").read_text()
    named = {name.replace("-", "_") for name in re.findall(r"workbench bench ([\w-]+)`", page)}
    assert named | {"peers"} == set(BENCHMARKS)
