"""The table of views, and what opens one: a live widget in a kernel, a still picture everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.views.fold import Facts, Fold
from workbench.views.program_fold import ProgramFold
from workbench.views.tree import TreeFold
from workbench.widgets.feed import Feed, Reader
from workbench.widgets.source import Source
from workbench.widgets.turns import template_fold


@dataclass(frozen=True)
class ViewKind:
    """One view. The widget is the class `widget` in `workbench.widgets.<name>`; its JavaScript is `<name>.js` beside it."""

    name: str
    fold: Callable[..., Fold]
    """Called with the engine's facts and the view's own options."""
    widget: str
    help: str
    arguments: Mapping[str, Mapping[str, Any]] | None = None
    """Its own options of `%wb <name>`: for each name or flag what argparse's `add_argument` takes."""
    variables: tuple[str, ...] = ()
    """Those of its options that the magic takes as names of the notebook's variables."""


TEMPLATE_ARGUMENTS = {
    "messages": {"nargs": "?", "metavar": "VAR", "help": "a variable that holds messages; without it the conversation so far"},
    "--conversation": {"metavar": "NAME", "help": "which conversation, where several go on (default: default)"},
    "--against": {"metavar": "VAR", "help": "messages to compare with; without it the same conversation one turn before"},
}
PROGRAM_ARGUMENTS = {"program": {"nargs": "?", "metavar": "ID", "help": "which run; without it the newest"}}
VIEWS = {
    kind.name: kind
    for kind in (
        ViewKind("tree", TreeFold, "TreeWidget", "The radix tree: which text is stored once, and who uses it."),
        ViewKind(
            "template", template_fold, "TemplateWidget", "A conversation as the model reads it, and where its prefix breaks.",
            TEMPLATE_ARGUMENTS, variables=("messages", "against"),
        ),
        ViewKind(
            "program", ProgramFold, "ProgramWidget", "The program that runs: its text with its gaps, and their requests.",
            PROGRAM_ARGUMENTS,
        ),
    )
}  # fmt: skip


def open_view(source: Source, name: str, *, live: bool | None = None, **options: Any) -> Any:
    """The live widget; the still picture where `live` is False, or where it is None and no kernel shows widgets.

    Raises `InvalidRequest` for a name that is no view.
    """
    if name not in VIEWS:
        raise InvalidRequest("view", name, f"one of {', '.join(VIEWS)}")
    kind = VIEWS[name]

    def make(facts: Facts) -> Fold:
        return kind.fold(facts, **options)

    if live is None:
        live = has_widgets()
    reader = Reader(source, make)
    if not live:
        reader.read()
        return reader.fold.picture()
    try:
        module = import_module(f"workbench.widgets.{name}")
    except ImportError as error:
        raise NotSupported(f"live views need {error.name}", hint="pip install 'radix-workbench[notebook]'") from None
    widget = getattr(module, kind.widget)(reader)
    Feed.of(source).add(widget)
    return widget


def has_widgets() -> bool:
    """Whether this is a Jupyter kernel with anywidget installed."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is None:
        return False
    try:
        import_module("anywidget")
    except ImportError:
        return False
    return True
