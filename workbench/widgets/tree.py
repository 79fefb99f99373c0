"""The live radix tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import traitlets

from workbench.views.tree import TreeFold
from workbench.widgets.base import ViewWidget, as_json, module, styles


class TreeWidget(ViewWidget):
    _esm = module("tree")
    _css = styles("tree")

    rows = traitlets.List().tag(sync=True, to_json=as_json)
    """The nodes, apart from the state: they change when text enters or leaves the tree, the rest with every token."""

    def traits_of(self, state: dict[str, Any]) -> dict[str, Any]:
        return {"rows": state.pop("rows"), "state": state}

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Beside the usual: {"do": "open", "id": node} draws all children of a node whatever the size of the tree."""
        if asked.get("do") != "open":
            return super().answer(asked)
        with self.reader.lock:
            assert isinstance(self.fold, TreeFold)
            self.fold.opened.add(int(asked["id"]))
            self.show(self.fold.state())
        return {}
