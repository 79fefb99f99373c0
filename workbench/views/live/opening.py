"""Opens a view: a live widget in a kernel, a still picture everywhere else."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from workbench.errors import InvalidRequest, NotSupported, UnknownParameter, install
from workbench.html.parts import View
from workbench.views.dashboard.picture import Pictures
from workbench.views.fold import Fold
from workbench.views.live.feed import Feed
from workbench.views.live.kinds import VIEWS, ViewKind
from workbench.views.live.reader import Reader
from workbench.views.live.source import Source

DASHBOARD = "dashboard"
HELP = {name: kind.help for name, kind in VIEWS.items()} | {DASHBOARD: "All views of an engine side by side, linked."}
"""One sentence for each name that `open_view` takes."""


def open_view(source: Source, name: str, *, live: bool | None = None, **options: Any) -> Any:
    """Returns a view of an engine: its widget, or its still picture.

    `live` None means: the widget where a kernel can show one. `options` are the view's own. Raises `InvalidRequest` for a name
    that is no view, `UnknownParameter` for an option that the view does not have, and `NotSupported` for a widget without the
    packages that it needs.
    """
    check_name(name)
    live = has_widgets() if live is None else live
    if name == DASHBOARD:
        return open_dashboard(source, live)
    reader = open_reader(source, name, options)
    if not live:
        reader.read()
        return reader.fold.picture()
    widget = widget_class(VIEWS[name])(reader)
    Feed.of(source).add(widget)
    return widget


def open_reader(source: Source, name: str, options: Mapping[str, Any]) -> Reader[Fold[View]]:
    """Returns the reader of a view, which has read nothing yet. Raises `UnknownParameter` for an option it does not have."""
    kind = VIEWS[name]
    check_options(kind, options)
    return Reader(source, lambda facts: kind.fold(facts, **options))


def check_name(name: str) -> None:
    """Raises `InvalidRequest` for a name that is no view."""
    if name not in HELP:
        raise InvalidRequest.because("view", f"{name!r} is no view", hint=UnknownParameter(str(name), HELP, where="").hint)


def open_dashboard(source: Source, live: bool) -> Any:
    """Returns all views that have a place in it, as a `Dashboard` or as `Pictures`."""
    views = {name: open_view(source, name, live=live) for name, kind in VIEWS.items() if kind.in_dashboard}
    return widgets("dashboard.widget").Dashboard(views) if live else Pictures(tuple(views.values()))


def check_options(kind: ViewKind, options: Mapping[str, Any]) -> None:
    """Raises `UnknownParameter` for an option that the view's fold does not take."""
    known = list(inspect.signature(kind.fold).parameters)[1:]
    for name in options:
        if name not in known:
            raise UnknownParameter(name, known, where=f"the view {kind.name!r}")


def widget_class(kind: ViewKind) -> Any:
    """Returns the class of a view's widget. Raises `NotSupported` where a package is missing."""
    folder, _, name = (kind.widget or "live.ViewWidget").partition(".")
    return widgets("live.widget").widget_class(kind.name, getattr(widgets(f"{folder}.widget"), name))


def widgets(path: str) -> ModuleType:
    """Imports a module that needs ipywidgets. Raises `NotSupported` where a package is missing."""
    try:
        return import_module(f"workbench.views.{path}")
    except ImportError as error:
        raise NotSupported(f"live views need {error.name}", hint=install("notebook")) from None


def has_widgets() -> bool:
    """Returns whether this is a Jupyter kernel with anywidget installed."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is None:
        return False
    try:
        import_module("anywidget")
    except ImportError:
        return False
    return True
