"""The pages that are made from the code, so that they cannot drift from it. Run by `conf.py`; alone writes the list of models."""

from __future__ import annotations

import ast
import dataclasses
import datetime
import inspect
import re
import shutil
import typing
from pathlib import Path
from typing import get_args

from workbench.checkpoint.folders.declared import ACCEPTED
from workbench.config import GROUPS, Group
from workbench.config.later import LATER, NO_EFFECT, flag
from workbench.config.limits import limits_of
from workbench.config.schemes import SCHEMES
from workbench.field_docs import field_docs
from workbench.lang.backends.anthropic import Anthropic
from workbench.lang.backends.base import FEATURES, Feature
from workbench.lang.backends.endpoint import RuntimeEndpoint
from workbench.lang.backends.engine import EngineBackend
from workbench.lang.backends.litellm import LiteLLM
from workbench.lang.backends.openai import OpenAI
from workbench.lang.backends.vertexai import VertexAI
from workbench.lang.choices import METHODS
from workbench.lang.default import flush_cache, get_server_info, set_default_backend
from workbench.lang.program import Program, function, run_batch
from workbench.lang.state import ForkGroup, ProgramState
from workbench.lang.verbs import VERBS
from workbench.model.registry import FAMILIES, Entry
from workbench.views.live import HELP, VIEWS

ROOT = Path(__file__).parents[1]
BACKEND_NOTES = """
Without roles (`completion`), OpenAI's text models continue the text; the other APIs get it as one message of the user.
`select` scores the options on Engine, Runtime and RuntimeEndpoint; an OpenAI text model writes the option token by token, only
the options' tokens allowed; the other APIs are asked for one of the options. Stop strings that an API does not take are found
in its stream. A model may take less than its API, and with LiteLLM a provider: what it refuses is an error with its words.
"""


MODELS_NOTES = """
A model is given as an alias of `workbench models`, a hub id (`org/name`, `org/name@revision`, `org/name:file.gguf`), a folder
with config.json and `*.safetensors`, or a GGUF file, from which configuration and tokenizer are read too.

Every key of config.json is computed, known to change nothing, or refused with its name; so is every tensor. Refused before
weights are fetched: other architectures, other methods of quantisation and settings of them than those below, activations and
rotary embeddings that are not computed. Pickled weights
are never opened.

Quantised folders that are read: {methods}. Dense ones are quantised while they are read by `quantization`: {schemes}.

`json_model_override_args='{{"key": null}}'` takes a key out of config.json, where you know that it changes nothing.

`dtype="bfloat16"` runs on every processor. Where none of its instructions multiply bfloat16 (AVX2 and no more), prompts take
several times as long as in float32, and the log has a line about it.
"""


VIEWS_NOTES = """
Every view has three forms of the same facts. In a kernel with anywidget it is **live**: it moves while a cell runs, at most 20
times a second, and a selection in one view of an engine is followed by all; `view.selection` has it in Python. Under a live
view stands a **still** picture for pages without a kernel, renewed when a cell ends; `view.picture()` is that picture at any
moment, and `engine.view(name, live=False)` or `%wb name --no-view` gives it alone. `picture.to_text()`, `to_dict()` and
`save("x.html")` are its other forms. And `view.fold` is the **facts** themselves, folded from the event log:
`view.fold.node(17)`.

An engine that has ended leaves its views as they were, with a note of two lines and without the buttons that would ask it; so
does a kernel that was restarted, and a saved notebook shows the still pictures. A view that fell behind the log begins again
from a snapshot of the engine. `%wb <name>` takes `--engine`, `--no-view`, `-o` and `-T` beside the options below, which are
keywords of the call.
"""


def configuration_page() -> str:
    """Writes one table per group of `ServerArgs`, with a row per field."""
    same = ", ".join(f"`{name}`" for name in sorted(NO_EFFECT))
    later = [f"| `{name}` | {_words(one.neutral)} | {one.lacks} | {one.instead} |" for name, one in LATER.items()]
    return "\n".join(
        [
            "# Configuration\n\nThe same names are keywords of `Engine`, flags of the command line and options of `%wb load`.\n",
            *(line for group in GROUPS for line in _group(group)),
            "\n## Names of the reference that are not built yet\n",
            "They are accepted at a value that asks for nothing, and refused at others.\n",
            "| name | accepted | not available yet | instead |\n|---|---|---|---|",
            *later,
            f"\nAccepted at any value, as the engine always works so: {same}.\n",
        ]
    )


def _words(values: tuple[object, ...]) -> str:
    """Returns the values that read differently. Every spelling of nothing is None."""
    return ", ".join(dict.fromkeys(f"`{value or None!r}`" if value in ("", (), []) else f"`{value!r}`" for value in values))


def backends_page() -> str:
    """Writes a table of backends and their features, from the declarations of the classes."""
    columns = [
        ("Engine, Runtime", EngineBackend, EngineBackend.features),
        ("RuntimeEndpoint", RuntimeEndpoint, RuntimeEndpoint.features),
        ("OpenAI, chat", OpenAI, OpenAI.features),
        ("OpenAI, text", OpenAI, OpenAI.text_features),
        *((cls.name, cls, cls.features) for cls in (Anthropic, VertexAI, LiteLLM)),
    ]
    head = f"{' | '.join(name for name, _, _ in columns)} |\n|---|{'---|' * len(columns)}"
    params = sorted(set().union(*(cls.params for _, cls, _ in columns)))
    return "\n".join(
        [
            "# Backends\n\nAll of them generate and stream. What a backend has no mark for is refused with an error before",
            "anything is sent; `num_api_spec_tokens` changes nothing there, as a shared prefix is computed once anyway.\n",
            f"| feature | {head}",
            *(_marks(feature, [feature in features for _, _, features in columns]) for feature in get_args(Feature)),
            _marks("num_api_spec_tokens", [cls.writes_ahead for _, cls, _ in columns]),
            f"\n| parameter | {head}",
            *(_marks(param, [param in cls.params for _, cls, _ in columns]) for param in params),
            BACKEND_NOTES,
        ]
    )


def language_page() -> str:
    """Writes one row per word of the language, choices method and method of a state, from signatures and docstrings."""
    words = [*VERBS, function, run_batch, set_default_backend, flush_cache, get_server_info]
    parts = [
        ("Words", "workbench.", words),
        ("Choices methods", "workbench.", METHODS),
        ("A program", "program.", _methods(Program)),
        ("A state", "s.", _methods(ProgramState)),
        ("The states of a fork", "forks.", _methods(ForkGroup)),
    ]
    lines = ["# The frontend language", "", "`import workbench as sgl` has every word below; a program runs on any backend."]
    for title, prefix, functions in parts:
        lines += ["", f"## {title}", "", "| primitive | meaning |", "|---|---|"]
        lines += [f"| {_code(prefix + _signature(f))} | {_text(_summary(f))} |" for f in functions]
    lines += ["", "## What a backend may lack", "", "A program that asks for it gets an error that names backend and feature:"]
    return "\n".join([*lines, ", ".join(map(_code, sorted(FEATURES))) + "."]) + "\n"


def views_page() -> str:
    """Writes one row per view: its magic, its call, its content and its options."""
    lines = ["# Views", "", VIEWS_NOTES, "| magic | call | what it shows | its options |", "|---|---|---|---|"]
    for name, says in HELP.items():
        arguments = (VIEWS[name].arguments or {}) if name in VIEWS else {}
        options = "; ".join(f"{_code(argument)} {_text(how['help'].replace('%%', '%'))}" for argument, how in arguments.items())
        lines.append(f"| {_code(f'%wb {name}')} | {_code(f'engine.view({name!r})')} | {_text(says)} | {options} |")
    return "\n".join(lines) + "\n"


def models_page(root: Path, day: str) -> str:
    """Writes one row per architecture, with the tests that hold it to its oracle; `day` is that of the list."""
    lines = [
        "# Models that run",
        "",
        f"Made from the registry on {day}.",
        "",
        "| family | config.json | GGUF | models | held to its oracle by |",
        "|---|---|---|---|---|",
    ]
    for entry in FAMILIES.values():
        cells = (entry.title, f"`{entry.architecture}`", entry.gguf or "–", entry.models, f"`{_test_of(entry, root)}`")
        lines.append(f"| {' | '.join(cells)} |")
    methods, schemes = (", ".join(f"`{name}`" for name in names) for names in (ACCEPTED, sorted(SCHEMES)))
    return "\n".join([*lines, MODELS_NOTES.format(methods=methods, schemes=schemes)])


def dated_models_page(root: Path, today: str) -> str:
    """Returns the page with today's date, or as it is where it would say the same."""
    path = root / "docs/supported_models.md"
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.search(r"on (\d{4}-\d\d-\d\d)\.", page)
    return page if found and page == models_page(root, found[1]) else models_page(root, today)


def _test_of(entry: Entry, root: Path) -> str:
    """Returns the file of the test that names an architecture, or else its family."""
    tests = sorted((root / "tests/equal").glob("test_*.py"), key=lambda path: (not path.stem.startswith("test_families"), path))
    for word in (entry.architecture, entry.model_type, entry.gguf)[: 1 if entry.form else 3]:
        for path in tests:
            if word and f'"{word}"' in path.read_text(encoding="utf-8"):
                return path.name
    raise LookupError(f"no test in tests/equal names {entry.architecture}")


def _methods(cls: type) -> list[object]:
    return [
        member
        for name, member in vars(cls).items()
        if not name.startswith("_") and (callable(member) or isinstance(member, property))
    ]


def _signature(member: object) -> str:
    if isinstance(member, property):
        return member.fget.__name__
    found = inspect.signature(member)
    shown = [p.replace(annotation=p.empty) for name, p in found.parameters.items() if name != "self"]
    return f"{member.__name__}{found.replace(parameters=shown, return_annotation=found.empty)}"


def _summary(member: object) -> str:
    return " ".join((inspect.getdoc(member) or "").split())


def modules_page(package: Path) -> str:
    """Writes every module with the first line of its docstring, folder by folder."""
    lines = ["# Modules", "", "What may import what is drawn in [](../architecture.md)."]
    folder = None
    for path in sorted(package.rglob("*.py"), key=lambda path: (path.parent.relative_to(package).parts, path.name)):
        if path.parent != folder:
            folder = path.parent
            lines += ["", f"## {'.'.join(folder.relative_to(package.parent).parts)}", "", "| file | what it is |", "|---|---|"]
        summary = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0].replace("\n", " ")
        lines.append(f"| `{path.name}` | {_text(summary)} |")
    return "\n".join(lines) + "\n"


def write_all(out: Path, root: Path) -> None:
    """Writes the generated pages and copies the notebooks into `out`; files that did not change keep their time."""
    out.mkdir(exist_ok=True)
    books = sorted((root / "notebooks").glob("*.ipynb"))
    pages = {
        "backends.md": backends_page(),
        "configuration.md": configuration_page(),
        "language.md": language_page(),
        "modules.md": modules_page(root / "workbench"),
        "views.md": views_page(),
    }
    for name, text in pages.items():
        path = out / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    for old in set(out.iterdir()) - {out / name for name in pages} - {out / book.name for book in books}:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    for book in books:
        shutil.copy2(book, out / book.name)


def _group(group: type[Group]) -> list[str]:
    """Returns a heading and a table: each field with its type, limits, default and meaning."""
    hints, docs, limits = typing.get_type_hints(group), field_docs(group), limits_of(group)
    head = "| keyword | flag | type | range | default | meaning |\n|---|---|---|---|---|---|"
    lines = [f"\n## {inspect.getdoc(group)}\n", head]
    for field in dataclasses.fields(group):
        name, allowed = field.name, ", ".join(limit.words for limit in limits.get(field.name, ()))
        codes = [_code(text) for text in (name, flag(name), _type_name(hints[name]))]
        lines.append(f"| {' | '.join([*codes, allowed, _code(repr(field.default)), _text(docs[name])])} |")
    return lines


def _type_name(kind: object) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _marks(name: str, has: list[bool]) -> str:
    return f"| {_code(name)} | {' | '.join('✓' if each else '' for each in has)} |"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _text(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    # The page that is read on its own, beside the code; the others are written where the pages are built.
    written = dated_models_page(ROOT, datetime.date.today().isoformat())
    (ROOT / "docs/supported_models.md").write_text(written, encoding="utf-8")
