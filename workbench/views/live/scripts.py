"""Joins a view's ES modules into one: anywidget loads a view from a text that has no neighbours to import.

Modules import each other with `import { name } from "./file.js";` and nothing else. Joining writes every module once, after
those that it imports, in one scope. So no two of them may declare the same name, and a circle of imports cannot be joined.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from workbench.html.parts import CARD
from workbench.html.styles import stylesheet

VIEWS = Path(__file__).parents[1]
"""Folder with a folder for each view."""
IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.{1,2}/[^"]+)";\n', re.MULTILINE)
OTHER_IMPORT = re.compile(r"^(?:import\b|export (?:\{|\*)).*", re.MULTILINE)
DECLARED = re.compile(r"^(export )?(?:async )?(?:function\*?|const|let|var|class) (\S+?)\b", re.MULTILINE)
PATTERN = re.compile(r"^(?:export )?(?:const|let|var) [\[{].*", re.MULTILINE)
DEFAULT = re.compile(r"^export default\b", re.MULTILINE)
COMMENT = re.compile(r"^[ \t]*(?:/\*\*(?:(?!\*/)[\s\S])*\*/|//.*)[ \t]*\n", re.MULTILINE)
"""Comments on lines of their own."""


class CannotJoin(ValueError):
    """Modules do not fit together: the message names the file and the rule."""


@cache
def script(entry: Path) -> str:
    """Returns the module at `entry` and all that it imports as one ES module, without comments that fill whole lines.

    What the modules export, the joined module exports too. Raises `CannotJoin` where an import names something that is not
    exported, where modules import each other in a circle, where two declare the same name, or where a module is written in a
    way that this cannot read.
    """
    return joined(modules(entry))


def joined(found: Mapping[Path, str]) -> str:
    """Returns modules as one text, in their order. Raises `CannotJoin` where two declare the same name, or one cannot be read."""
    _check_names(found)
    return "".join(COMMENT.sub("", IMPORT.sub("", text)) for text in found.values())


def styles(path: Path) -> str:
    """Returns a live view's style sheet: the rules of every card, of every live view, and its own."""
    return "".join(stylesheet(file) for file in (CARD, VIEWS / "live" / "live.css", path))


def modules(entry: Path) -> dict[Path, str]:
    """Returns the texts of all modules that `entry` needs, itself last, each after those that it imports. Raises `CannotJoin`."""
    found: dict[Path, str] = {}
    _collect(entry.resolve(), found, ())
    return found


def _collect(path: Path, found: dict[Path, str], above: tuple[Path, ...]) -> None:
    if path in found:
        return
    if path in above:
        circle = " -> ".join(file.name for file in (*above[above.index(path) :], path))
        raise CannotJoin(f"modules import each other: {circle}")
    text = path.read_text("utf-8")
    if above and DEFAULT.search(text):
        raise CannotJoin(f"{path.name}: only the module that is loaded has a default export")
    for names, source in IMPORT.findall(text):
        imported = (path.parent / source).resolve()
        if not imported.is_file():
            raise CannotJoin(f"{path.name} imports {source}, which does not exist")
        _collect(imported, found, (*above, path))
        missing = _names(names) - _declared(found[imported], exported=True).keys()
        if missing:
            raise CannotJoin(f"{path.name} imports {', '.join(sorted(missing))} from {source}, which does not export that")
    found[path] = text


def _check_names(found: Mapping[Path, str]) -> None:
    owners: dict[str, Path] = {}
    for path, text in found.items():
        for unread in (*OTHER_IMPORT.finditer(IMPORT.sub("", text)), *PATTERN.finditer(text)):
            raise CannotJoin(f"{path.name}: {unread[0]!r} cannot be joined: import and declare one name after the other")
        for name in _declared(text):
            if name in owners:
                raise CannotJoin(f"{name} is declared in {owners[name].name} and in {path.name}, which share one scope")
            owners[name] = path


def _names(listed: str) -> set[str]:
    return {name.strip() for name in listed.split(",") if name.strip()}


def _declared(text: str, *, exported: bool = False) -> dict[str, None]:
    """Returns the names that a module declares at its top level; with `exported` those that it exports."""
    return {name: None for export, name in DECLARED.findall(text) if export or not exported}
