"""The page of the views."""

from __future__ import annotations

from generate.markdown import code, page, table, words
from workbench.views.live import HELP, VIEWS

NOTES = """
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


def views_page() -> str:
    """Writes one row per view: its magic, its call, its content and its options."""
    rows = []
    for name, says in HELP.items():
        arguments = (VIEWS[name].arguments or {}) if name in VIEWS else {}
        options = "; ".join(f"{code(argument)} {words(how['help'].replace('%%', '%'))}" for argument, how in arguments.items())
        rows.append((code(f"%wb {name}"), code(f"engine.view({name!r})"), words(says), options or "none"))
    return page("Views", NOTES, table(("magic", "call", "what it shows", "its options"), rows))
