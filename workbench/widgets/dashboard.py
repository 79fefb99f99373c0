"""All views of one engine on one page; what is selected in one is followed by all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets

from workbench.views.together import Pictures
from workbench.widgets.base import Still, ViewWidget, shown_as


class Dashboard(ipywidgets.GridBox):
    """Two columns where there is room for them, the views of a row equally high, one left over as wide as both.

    `dashboard.views["tree"]` is one of the views.
    """

    def __init__(self, views: Sequence[ViewWidget]) -> None:
        self.views = {type(view).__module__.rpartition(".")[2]: view for view in views}
        for view in views:
            view.layout.min_width = "0"
        if len(views) % 2:
            views[-1].layout.grid_column = "1 / -1"
        columns = "repeat(auto-fit, minmax(min(34em, 100%), 1fr))"
        super().__init__(list(views), layout=ipywidgets.Layout(grid_template_columns=columns, grid_gap="4px"))

    @property
    def selection(self) -> dict[str, Any] | None:
        """What is selected: {"kind": ..., "id": ...}; None for nothing."""
        return next((view.selection for view in self.views.values() if view.selection), None)

    def picture(self) -> Pictures:
        return Pictures(tuple(view.picture() for view in self.views.values()))

    def save(self, path: str | Path) -> None:
        """Write the present pictures to a file, of the kind its name ends in."""
        self.picture().save(path)

    def close(self) -> None:
        for view in self.views.values():
            view.close()
        super().close()

    def __repr__(self) -> str:
        return self.picture().to_text()

    def _ipython_display_(self) -> None:
        first = next(iter(self.views.values()))
        first.still = first.still or Still(first.reader.source.log, self.picture)
        first.still_key = first.still.key
        first.still.display(self._repr_mimebundle_())

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return shown_as(super()._repr_mimebundle_(**kwargs), self.picture())
