"""The live radix tree."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import traitlets

from workbench.views.live.base import ViewWidget, as_json, module, styles
from workbench.views.live.source import Source
from workbench.views.tree.fold import TreeFold


class TreeWidget(ViewWidget):
    _esm = module("tree", "layout", "parts")
    _css = styles("tree")

    rows = traitlets.Any(()).tag(sync=True, to_json=as_json)
    """The nodes, apart from the state: they change when text enters or leaves the tree, the rest with every token."""
    epoch = traitlets.Float(None, allow_none=True).tag(sync=True)
    """When the engine's clock began, in seconds since 1970: while nothing happens a page knows by it how long ago things were."""

    def traits_of(self, state: dict[str, Any]) -> dict[str, Any]:
        return {"rows": state.pop("rows"), "state": state}

    def take_news(self) -> dict[str, Any]:
        """Beside the usual `changed`, instead of `rows`, for pages that know the rows before: {"gone": ids, "rows": rows}."""
        news = super().take_news()
        if "rows" in news:
            with self.reader.lock:
                changed = self._tree.drawn.take_changes(self._tree.now)
            if changed is not None:
                del news["rows"]
                news["changed"] = changed
        return news

    def settle(self) -> None:
        with self.reader.lock:
            self._tree.settle()
            self.refresh()
        super().settle()

    def say(self, note: str) -> None:
        super().say(note)
        self.epoch = None if self.reader.source.ended else self.epoch or epoch()

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Beside the usual: {"do": "open", "id": node} draws all children of a node whatever the size of the tree."""
        if asked.get("do") == "detail" and "id" in asked:
            return super().answer(asked) | {"in_python": f"{in_python(self.reader.source)}.cache.node({asked['id']})"}
        if asked.get("do") != "open":
            return super().answer(asked)
        with self.reader.lock:
            self._tree.drawn.opened.add(int(asked["id"]))
            self.show(self.state_now())
        self.settle()
        return {}

    @property
    def _tree(self) -> TreeFold:
        assert isinstance(self.fold, TreeFold)
        return self.fold


def epoch() -> float:
    return time.time() - time.monotonic()


def in_python(source: Source) -> str:
    """How a cell names the engine: its variable where there is one, else a way that works as it stands."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    for name, value in list(shell.user_ns.items()) if shell is not None else ():
        if not name.startswith("_") and getattr(value, "__dict__", {}).get("_source") is source:
            return name
    return "from workbench.magics import session; session.engine()"
