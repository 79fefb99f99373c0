"""The live radix tree."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import traitlets

from workbench.views.live.source import Source
from workbench.views.live.widget import ViewWidget, as_json
from workbench.views.tree.fold import TreeFold


class TreeWidget(ViewWidget[TreeFold]):
    rows = traitlets.Any(()).tag(sync=True, to_json=as_json)
    """Nodes, apart from the state: they change when text enters or leaves the tree, the rest with every token."""
    epoch = traitlets.Float(None, allow_none=True).tag(sync=True)
    """Start of the engine's clock in seconds since 1970: pages need it to say how long ago something was. None once it ended."""

    def traits_of(self, state: dict[str, Any]) -> dict[str, Any]:
        return {"rows": state.pop("rows"), "state": state}

    def take_news(self) -> dict[str, Any]:
        """Returns the traits to send, with `changed` instead of all rows: {"gone": ids, "rows": rows}."""
        news = super().take_news()
        if "rows" in news:
            with self.reader.lock:
                changed = self.fold.drawn.take_changes(self.fold.now)
            if changed is not None:
                del news["rows"]
                news["changed"] = changed
        return news

    def settle(self) -> None:
        with self.reader.lock:
            self.fold.settle()
            self.refresh()
        super().settle()

    def say(self, note: str) -> None:
        super().say(note)
        self.epoch = None if self.reader.source.ended else self.reader.source.epoch

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answers the usual messages, and {"do": "open", "id": node}, which draws all children of a node in any tree."""
        if asked.get("do") == "detail" and "id" in asked:
            return super().answer(asked) | {"in_python": f"{in_python(self.reader.source)}.cache.node({asked['id']})"}
        if asked.get("do") != "open":
            return super().answer(asked)
        with self.reader.lock:
            self.fold.drawn.opened.add(int(asked["id"]))
            self.show(self.state_now())
        self.settle()
        return {}


def in_python(source: Source) -> str:
    """Returns the code by which a cell names an engine: its variable where there is one, else an expression."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    for name, value in list(shell.user_ns.items()) if shell is not None else ():
        if not name.startswith("_") and getattr(value, "__dict__", {}).get("_source") is source:
            return name
    return "from workbench.magics import session; session.engine()"
