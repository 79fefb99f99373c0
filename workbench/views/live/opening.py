"""The table of views, and what opens one: a live widget in a kernel, a still picture everywhere else."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from workbench.errors import InvalidRequest, NotSupported, UnknownParameter, install
from workbench.views.batch.fold import BatchFold
from workbench.views.fold import Facts, Fold
from workbench.views.kv.fold import KVFold
from workbench.views.live.feed import Feed, Reader
from workbench.views.live.source import Source
from workbench.views.mask.fold import MaskFold
from workbench.views.program.fold import ProgramFold
from workbench.views.side_by_side import Pictures
from workbench.views.template.conversation import template_fold
from workbench.views.throughput.fold import ThroughputFold
from workbench.views.tokens.colours import MEASURES
from workbench.views.tokens.fold import TokensFold
from workbench.views.tree.fold import TreeFold


@dataclass(frozen=True)
class ViewKind:
    """One view. The widget is the class `widget` in `workbench.views.live.<name>`; its JavaScript is `<name>.js` beside it."""

    name: str
    fold: Callable[..., Fold]
    """Called with the engine's facts and the view's own options."""
    widget: str
    help: str
    arguments: Mapping[str, Mapping[str, Any]] | None = None
    """Its own options of `%wb <name>`: for each name or flag what argparse's `add_argument` takes."""
    variables: tuple[str, ...] = ()
    """Those of its options that the magic takes as names of the notebook's variables."""
    in_dashboard: bool = True


RID: Mapping[str, Any] = {"nargs": "?", "metavar": "RID", "help": "a request's id; without it the newest is followed"}
TEMPLATE_ARGUMENTS = {
    "messages": {"nargs": "?", "metavar": "VAR", "help": "a variable that holds messages; without it the conversation so far"},
    "--conversation": {"metavar": "NAME", "help": "which conversation, where several go on (default: default)"},
    "--against": {"metavar": "VAR", "help": "messages to compare with; without it the same conversation one turn before"},
}
PROGRAM_ARGUMENTS = {"program": {"nargs": "?", "metavar": "ID", "help": "which run; without it the newest"}}
BATCH_ARGUMENTS = {
    "--steps": {"type": int, "default": 160, "metavar": "N", "help": "show the last N steps (default: 160)"},
    "--skip": {"type": int, "default": 0, "metavar": "N", "help": "leave out the latest N requests, to see those before them"},
}
WINDOW = {"--window": {"type": float, "default": 60.0, "metavar": "SECONDS", "help": "show the last SECONDS (default: 60)"}}
VIEWS = {
    kind.name: kind
    for kind in (
        ViewKind("tree", TreeFold, "TreeWidget", "The radix tree: which text is stored once, and who uses it."),
        ViewKind("batch", BatchFold, "BatchWidget", "Who was in which step, and what each request waited for.", BATCH_ARGUMENTS),
        ViewKind(
            "tokens", TokensFold, "TokensWidget", "The tokens of a request: how each came about, what the model thought.",
            {"rid": RID, "--by": {"default": "probability", "choices": tuple(MEASURES), "help": "what colours them"}},
        ),
        ViewKind("throughput", ThroughputFold, "ThroughputWidget", "Tokens per second, queue, cache hits, memory.", WINDOW),
        ViewKind(
            "mask", MaskFold, "MaskWidget", "The mask of a constrained request: how many tokens might come, and which.",
            {"rid": RID, "--step": {"type": int, "metavar": "N", "help": "take apart the mask of output token N, from 0"}},
        ),
        ViewKind("kv", KVFold, "KvWidget", "Who owns which page of the KV pool."),
        ViewKind(
            "template", template_fold, "TemplateWidget", "A conversation as the model reads it, and where its prefix breaks.",
            TEMPLATE_ARGUMENTS, variables=("messages", "against"), in_dashboard=False,
        ),
        ViewKind(
            "program", ProgramFold, "ProgramWidget", "The program that runs: its text with its gaps, and their requests.",
            PROGRAM_ARGUMENTS,
        ),
    )
}  # fmt: skip


DASHBOARD = "dashboard"
HELP = {name: kind.help for name, kind in VIEWS.items()} | {DASHBOARD: "All views of an engine side by side, linked."}
"""One sentence for each name that `open_view` takes."""


def open_view(source: Source, name: str, *, live: bool | None = None, **options: Any) -> Any:
    """The live widget; the still picture where `live` is False, or where it is None and no kernel shows widgets.

    Raises `InvalidRequest` for a name that is no view, `UnknownParameter` for an option that it does not have.
    """
    if name not in HELP:
        raise InvalidRequest.because("view", f"{name!r} is no view", hint=UnknownParameter(str(name), HELP, where="").hint)
    live = has_widgets() if live is None else live
    if name == DASHBOARD:
        names = [kind.name for kind in VIEWS.values() if kind.in_dashboard]
        return open_dashboard([open_view(source, part, live=live) for part in names], live)
    kind = VIEWS[name]
    check_options(kind, options)

    def make(facts: Facts) -> Fold:
        return kind.fold(facts, **options)

    reader = Reader(source, make)
    if not live:
        reader.read()
        return reader.fold.picture()
    widget = getattr(widgets_module(name), kind.widget)(reader)
    Feed.of(source).add(widget)
    return widget


def open_dashboard(views: Sequence[Any], live: bool) -> Any:
    return widgets_module(DASHBOARD).Dashboard(views) if live else Pictures(tuple(views))


def check_options(kind: ViewKind, options: Mapping[str, Any]) -> None:
    known = list(inspect.signature(kind.fold).parameters)[1:]
    for name in options:
        if name not in known:
            raise UnknownParameter(name, known, where=f"the view {kind.name!r}")


def widgets_module(name: str) -> ModuleType:
    path = f"workbench.views.{name}" if name == DASHBOARD else f"workbench.views.{name}.widget"
    try:
        return import_module(path)
    except ImportError as error:
        raise NotSupported(f"live views need {error.name}", hint=install("notebook")) from None


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
