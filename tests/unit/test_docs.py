"""The generated pages match the code; the hand-written ones name only things that exist."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import re
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import workbench
import workbench.events
from workbench.bench.commands import BENCHMARKS
from workbench.config import ServerArgs
from workbench.config.later import LATER, NO_EFFECT
from workbench.lang.backends.anthropic import Anthropic
from workbench.lang.backends.base import ALL_PARAMS, Feature
from workbench.magics.magics import GEN
from workbench.magics.options import wb_parsers
from workbench.model.registry import FAMILIES
from workbench.native.options import RequestOptions
from workbench.native.results import Completion, MetaInfo
from workbench.types import SamplingParams

ROOT = Path(__file__).parents[2]


PAGES = ROOT / "docs"


def of(module: str, folder: str = "generate"):
    """Imports one of the modules that write pages; `docs` is no package of ours, so it is on the path meanwhile alone."""
    sys.path.insert(0, str(PAGES))
    try:
        return importlib.import_module(f"{folder}.{module}")
    finally:
        sys.path.remove(str(PAGES))


def rows_of(page: str) -> list[list[str]]:
    """Returns the cells of all rows of all tables, without heads."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = {i for i, row in enumerate(cells) if set(row[0]) == {"-"}}
    return [row for i, row in enumerate(cells) if i not in rules and i + 1 not in rules]


def first_cells(page: str) -> set[str]:
    return {row[0].strip("`") for row in rows_of(page)}


@pytest.mark.heavy
def test_no_row_of_a_generated_page_lacks_its_meaning():
    write = of("write")
    lacks = [
        (name, row[0])
        for name, make in write.PAGES.items()
        if name != "backends"  # a table of marks
        for row in rows_of(make())
        if len(row[-1]) < 2
    ]
    assert lacks == []


def test_the_openapi_document_describes_every_field_and_parameter():
    http = of("http")
    lacks = [
        (method, path, each)
        for path, methods in http.openapi()["paths"].items()
        for method, operation in methods.items()
        for each, says in [
            *((name, field.get("description")) for name, field in http.body_of(operation).get("properties", {}).items()),
            *((one["name"], one.get("description")) for one in operation.get("parameters", ())),
        ]
        if not says
    ]
    assert lacks == []


def test_the_configuration_page_has_a_row_for_every_field():
    rows = re.findall(r"^\| `(\w+)` \| `--([\w-]+)` \|", of("settings").configuration_page(), re.MULTILINE)
    assert rows == [(f.name, f.name.replace("_", "-")) for f in dataclasses.fields(ServerArgs)]


def test_rows_of_the_configuration_page_have_all_columns():
    own, later = of("settings").configuration_page().split("## Names of the reference")
    assert {len(row) for row in rows_of(own)} == {6}
    assert {len(row) for row in rows_of(later)} == {4}


def test_every_flag_of_the_reference_is_the_same_without_effect_or_told_to_be_missing():
    settings = of("settings")
    rows = {row[0].strip("`"): row[1] for row in rows_of("\n".join(settings.moving_table()))}
    fields = {f.name for f in dataclasses.fields(ServerArgs)}
    assert fields >= settings.REFERENCE, "each of these names is a setting"
    wanted = dict.fromkeys(settings.REFERENCE, "same") | dict.fromkeys(LATER, "not\u00a0there")
    wanted |= {name: "no\u00a0effect" for name in NO_EFFECT if name not in fields and name != "enable_radix_cache"}
    assert rows == {f"--{name.replace('_', '-')}": what for name, what in wanted.items()}


def test_the_page_of_the_backends_has_a_mark_for_what_each_can_do():
    page = of("programs").backends_page()
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


def test_the_language_page_has_a_row_with_a_meaning_for_every_public_word():
    from workbench.lang.state import ProgramState

    words_of_pages = rows_of(of("programs").language_page().split("## What a backend may lack")[0])
    rows = {word.strip("`"): meaning for word, _, meaning in words_of_pages}
    words = {
        name for name, module in workbench._PUBLIC.items() if module.startswith("workbench.lang") and "backends" not in module
    }
    assert words <= {name.removeprefix("workbench.") for name in rows}
    assert {f"s.{name}" for name in vars(ProgramState) if not name.startswith("_")} <= set(rows)
    assert all(len(meaning) > 10 for meaning in rows.values())


def test_the_page_of_the_views_has_a_row_for_every_view_and_its_options():
    from workbench.views.live import HELP, VIEWS

    rows = {row[0].strip("`"): row for row in rows_of(of("views").views_page())}
    assert list(rows) == [f"%wb {name}" for name in HELP]
    assert all(f"`{option}`" in rows[f"%wb {name}"][3] for name, kind in VIEWS.items() for option in kind.arguments or ())
    assert {len(row) for row in rows.values()} == {4}


def test_the_page_of_the_models_is_current_and_names_a_test_for_every_family():
    page = (PAGES / "supported_models.md").read_text(encoding="utf-8")
    assert page == of("models").dated_models_page(ROOT, "1999-01-01"), "write it again: python docs/generate"
    names = re.findall(r"\| `(\w+)` \|$", page, re.MULTILINE)
    assert len(names) == len(FAMILIES)
    assert all((ROOT / f"tests/equal/test_{name}.py").is_file() for name in names)


def test_the_list_of_models_keeps_its_date_while_it_says_the_same(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    path = tmp_path / "docs/supported_models.md"
    path.write_text(of("models").dated_models_page(tmp_path, "2001-02-03"), encoding="utf-8")
    assert "on 2001-02-03." in path.read_text(encoding="utf-8")
    assert of("models").dated_models_page(tmp_path, "2004-05-06") == path.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace("Llama", "Lama"), encoding="utf-8")
    assert "on 2004-05-06." in of("models").dated_models_page(tmp_path, "2004-05-06")


def test_the_page_of_quantisation_has_a_row_for_every_format_method_scheme_and_type_of_the_store():
    from workbench.checkpoint.block_types import GGUF_TYPES
    from workbench.checkpoint.folders.declared import ACCEPTED
    from workbench.config.schemes import SCHEMES
    from workbench.kernels.products import FORMATS

    rows = {row[0].strip("`"): row for row in rows_of(of("models").quantisation_page())}
    stores = set(get_args(get_type_hints(ServerArgs)["kv_cache_dtype"])) - {"auto"}
    blocks = {kind.name for kind in GGUF_TYPES.values() if kind.block_len > 1}
    assert set(rows) == blocks | set(ACCEPTED) | SCHEMES | stores
    assert {name for name in blocks if rows[name][1] == "as it is"} == blocks & set(FORMATS)


def test_the_page_of_the_parameters_has_a_meaning_for_every_field_and_its_default():
    first, second = of("requests").sampling_page().split("## Options of a request")
    rows = {row[0].strip("`"): row for row in rows_of(first)}
    assert first_cells(second) == set(RequestOptions.__annotations__)
    assert list(rows) == list(SamplingParams.__struct_fields__)
    plain = SamplingParams()
    assert all(row[2] == f"`{getattr(plain, name)!r}`" and len(row[3]) > 20 for name, row in rows.items())


def test_the_page_of_the_results_has_a_meaning_for_every_key():
    rows = rows_of(of("requests").results_page())
    assert [row[0].strip("`") for row in rows] == [*Completion.__annotations__, *MetaInfo.__annotations__]
    hints = {**Completion.__annotations__, **MetaInfo.__annotations__}
    required = {name for name, hint in hints.items() if "NotRequired" not in str(hint)}
    assert {row[0].strip("`") for row in rows if row[2] == "yes"} == required
    assert all(len(row[3]) > 10 for row in rows)


def test_the_page_of_the_magics_has_every_sub_command_and_option():
    from workbench.magics import magics, options

    page = of("magics").magics_page()
    for parser in (magics.GEN, magics.CHAT, magics.PROGRAM, *options.wb_parsers().values()):
        section = re.search(rf"^### `{re.escape(parser.prog)}`$(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
        assert section is not None, parser.prog
        actions = parser._actions[:3] if parser.prog == "%wb load" else parser._actions
        for action in actions:
            assert all(f"`{option}" in section[1] for option in action.option_strings), action
            assert action.option_strings or f"`{action.metavar or action.dest}`" in section[1], action
            assert action.help, f"{parser.prog}: {action.dest} has no meaning"


def test_the_page_of_the_command_line_has_every_command_and_benchmark():
    from workbench.cli import COMMANDS
    from workbench.models_cli import ACTIONS

    headings = set(re.findall(r"^#+ `(.*)`$", of("command_line").command_line_page(), re.MULTILINE))
    assert {f"workbench {name}" for name in COMMANDS} <= headings
    assert {f"workbench models {action}" for action in ACTIONS} <= headings
    assert {f"workbench bench {name.replace('_', '-')}" for name in BENCHMARKS} <= headings


def test_the_page_of_the_routes_has_every_route_and_every_field_of_its_body():
    from workbench.server.middleware import MANAGEMENT

    http = of("http")
    sections = re.split(r"^### ", http.endpoints_page(), flags=re.MULTILINE)
    found = {section.partition("\n")[0]: section for section in sections}
    routes = {(method, path): each for path, methods in http.openapi()["paths"].items() for method, each in methods.items()}
    assert len(found) == len(routes) + 1
    for (method, path), operation in routes.items():
        section = found[f"`{method.upper()} {path}`{' †' if path in MANAGEMENT else ''}"]
        assert len(operation["description"]) > 10
        for field in [
            *http.body_of(operation).get("properties", {}),
            *(each["name"] for each in operation.get("parameters", ())),
        ]:
            assert f"| `{field}` |" in section


def test_the_page_of_the_metrics_has_what_a_server_of_both_prefixes_counts():
    from prometheus_client import CollectorRegistry, generate_latest

    from workbench.server.metrics import MetricSet

    registry = CollectorRegistry()
    MetricSet("workbench_", "m", "generate_request", registry)
    shown = set(re.findall(r"^# TYPE (\w+) ", generate_latest(registry).decode(), re.MULTILINE))
    assert first_cells(of("metrics").metrics_page()) == {name for name in shown if not name.endswith("_created")}


def test_the_page_of_the_events_has_every_event_with_every_field():
    from workbench.events import AnyEvent

    page = of("events").events_page()
    for event in get_args(AnyEvent):
        section = re.search(rf"^### {event.__name__}$(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
        assert section is not None, event
        fields = set(event.__struct_fields__) - {"time"}
        assert first_cells(section[1]) == fields, event
        assert all(len(row[-1]) > 8 for row in rows_of(section[1])), event
    assert set(workbench.events.__all__) - set(re.findall(r"^### (\w+)$", page, re.MULTILINE)) == {
        "AnyEvent", "Event", "EventLog", "MatchReason", "WaitReason", "MAX_USERS", "NUM_FIRST", "NUM_SHOWN",
    }  # fmt: skip


@pytest.mark.heavy
def test_the_page_of_the_errors_says_of_every_class_what_to_do():
    errors = of("errors")
    names = {cls.__name__ for cls in errors.every_error()}
    assert names == set(errors.WHAT_TO_DO)
    declared = {
        name
        for path in (ROOT / "workbench").rglob("*.py")
        for name, base in re.findall(r"^class (\w+)\((\w+)", path.read_text(), re.MULTILINE)
        if base in names
    }
    assert declared <= names
    assert first_cells(errors.errors_page()) == names


def test_the_page_of_the_variables_has_every_variable_of_the_sources():
    environment = of("environment")
    listed = {*environment.USERS, *environment.DEPLOYED, *environment.WORK}
    places = [*(ROOT / "workbench").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / ".ci").iterdir(), ROOT / "Makefile"]
    places += [PAGES / "conf.py", *(PAGES / "deploy").rglob("*.*")]
    texts = [path.read_text(encoding="utf-8") for path in places if path.is_file()]
    used = {name for text in texts for name in re.findall(r"\bWORKBENCH_[A-Z][A-Z_]*[A-Z]\b", text)}
    assert listed == used, "docs/generate/environment.py lists each"
    package = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workbench").rglob("*.py"))
    assert all(name in package for name in environment.USERS)


def test_the_page_of_python_has_every_public_name_and_method():
    page = of("python_api").python_page()
    headings = re.findall(r"^#{3,4} (.*)$", page, re.MULTILINE)
    assert set(workbench._PUBLIC) <= set(headings)
    assert {"Engine.generate", "Engine.explain", "Engine.shutdown", "Grammar.why", "Attached.view"} <= set(headings)
    assert len(headings) == len(set(headings))
    sections = re.split(r"^#{3,4} .*$", page, flags=re.MULTILINE)[1:]
    assert not [name for name, section in zip(headings, sections, strict=True) if not described(section)]


def described(section: str) -> str:
    """Returns the text of a section outside of code and headings."""
    return re.sub(r"```.*?```|^#.*$", "", section, flags=re.MULTILINE | re.DOTALL).strip()


def test_the_module_page_lists_every_module_with_its_summary(tmp_path):
    package = tmp_path / "pkg"
    (package / "sub").mkdir(parents=True)
    (package / "a.py").write_text('"""First a | b.\n\nMore."""')
    (package / "sub" / "b.py").write_text('"""Second\nline."""')
    page = of("modules").modules_page(package)
    assert "| `a.py` | First a \\| b. |" in page
    assert "| `b.py` | Second line. |" in page
    assert page.index("## pkg\n") < page.index("## pkg.sub\n")


def test_runs_of_notebooks_are_kept_until_a_source_of_the_package_changes(tmp_path):
    package_hash = of("runs").package_hash
    (tmp_path / "workbench/views").mkdir(parents=True)
    (tmp_path / "workbench/a.py").write_text("one")
    (tmp_path / "workbench/views/view.js").write_text("one")
    kept = package_hash(tmp_path)
    (tmp_path / "workbench/a.pyc").write_text("compiled")
    (tmp_path / "notes.md").write_text("one")
    assert package_hash(tmp_path) == kept
    (tmp_path / "workbench/views/view.js").write_text("two")
    changed = package_hash(tmp_path)
    (tmp_path / "workbench/a.py").rename(tmp_path / "workbench/b.py")
    assert len({kept, changed, package_hash(tmp_path)}) == 3


def test_generated_pages_replace_stale_ones_and_a_notebook_gets_its_links(tmp_path, monkeypatch):
    write = of("write")
    root, docs = tmp_path / "root", tmp_path / "docs"
    (root / "workbench").mkdir(parents=True)
    (root / "notebooks").mkdir()
    (root / "notebooks/00-a.ipynb").write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "# A"}]}))
    (docs / "tutorials").mkdir(parents=True)
    (docs / "tutorials/99-gone.ipynb").write_text("{}")
    monkeypatch.setattr(write, "PAGES", {"metrics": lambda: "# Metrics\n"})
    write.write_all(docs, root)
    assert sorted(path.name for path in (docs / "reference").iterdir()) == ["flags.txt", "metrics.md", "modules.md"]
    assert [path.name for path in (docs / "tutorials").iterdir()] == ["00-a.ipynb"]
    cells = json.loads((docs / "tutorials/00-a.ipynb").read_text())["cells"]
    assert [cell["source"][:3] for cell in cells] == ["# A", "Ope"]


BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
OTHERS = {"--extra-index-url", "--no-deps", "--no-buffer", "--json", "--system-site-packages"}
"""Options of pip, curl and venv in commands of ours."""


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Returns the options of a parser and of all its sub-commands."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {option for each in action.choices.values() for option in options_of(each)}
    return found


def commands_of_pages() -> list[tuple[str, str]]:
    """Returns (page, command) for each line of the blocks of shell in the hand-written pages."""
    pages = [*PAGES.glob("*.md"), *(PAGES / "how-to").glob("*.md")]
    blocks = [(page.name, block) for page in pages for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
    return [(name, line.split("  #")[0]) for name, block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_every_option_in_a_command_of_a_page_exists():
    from workbench.cli import COMMANDS

    wrong = []
    for page, command in commands_of_pages():
        found = re.search(r"\bworkbench (\w+)|\bworkbench\.(\w+)", command)
        if found is None or not command.startswith(("workbench", "python -m", "WORKBENCH")):
            continue
        name = found[1] or {"launch_server": "serve"}.get(found[2], "bench")
        if name not in COMMANDS:
            wrong.append((page, command))
            continue
        subparsers = argparse.ArgumentParser().add_subparsers()
        importlib.import_module(COMMANDS[name][0]).add_parser(subparsers)
        known = options_of(subparsers.choices[name])
        wrong += [(page, option) for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", command) if option not in known]
    assert wrong == []


def test_every_target_and_route_in_a_command_of_a_page_exists():
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    routes = {*of("http").openapi()["paths"], "/"}
    for page, command in commands_of_pages():
        for target in re.findall(r"^make ([a-z][\w-]*)", command):
            assert target in targets, (page, command)
        for route in re.findall(r"127\.0\.0\.1:30000(/[\w/]*)", command):
            assert route in routes, (page, command)


def test_every_option_that_a_how_to_page_names_exists():
    from workbench.cli import COMMANDS

    subparsers = argparse.ArgumentParser().add_subparsers()
    for module, _ in COMMANDS.values():
        importlib.import_module(module).add_parser(subparsers)
    known = OTHERS.union(*(options_of(each) for each in subparsers.choices.values()))
    known |= {option for parser in wb_parsers().values() for option in options_of(parser)} | options_of(GEN)
    for page in [*(PAGES / "how-to").glob("*.md"), PAGES / "server.md"]:
        named = set(re.findall(r"`(--[a-z][\w-]*)", page.read_text(encoding="utf-8")))
        assert named <= known, page.name
    assert set(re.findall(r"`(--[a-z][\w-]*)", of("magics").ABOUT + of("models").FORMS + of("metrics").ABOUT)) <= known


def test_the_page_of_installing_has_every_extra_of_a_user():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = rows_of((PAGES / "how-to/install.md").read_text(encoding="utf-8"))
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert named == set(extras) - {"docs", "test"}


def test_the_page_of_slow_requests_has_every_reason_of_a_wait():
    from workbench.events import WaitReason

    page = (PAGES / "how-to/slow.md").read_text(encoding="utf-8")
    rows = {row[0].strip("`") for row in rows_of(page.split("| it waits for |")[1])}
    assert rows == set(get_args(WaitReason))


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


def test_what_a_cell_prints_in_pieces_is_one_text_on_its_page():
    def printed(name, *texts):
        return [{"output_type": "stream", "name": name, "text": text} for text in texts]

    picture = {"output_type": "display_data"}
    outputs = [
        picture,
        *printed("stdout", "The", " capital"),
        picture,
        *printed("stderr", "\r0/2", "\r2/2\n"),
        *printed("stdout", ".\n"),
    ]
    shown = of("streams", "extensions").joined(outputs)
    assert shown == [picture, *printed("stdout", "The capital.\n"), *printed("stderr", "2/2\n"), picture]


def test_no_line_of_python_of_a_page_is_wider_than_the_site():
    block = re.compile(r"^```(?:python|\{code-cell\}[^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    pages = [*PAGES.glob("*.md"), *(PAGES / "how-to").glob("*.md"), *(PAGES / "explanation").glob("*.md")]
    lines = [(page.name, line) for page in pages for code in block.findall(page.read_text("utf-8")) for line in code.splitlines()]
    assert len(lines) > 500
    assert [(name, line) for name, line in lines if len(line) > 120] == []
