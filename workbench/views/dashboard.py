"""All views of one engine on one page; what is selected in one is followed by all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets

from workbench.views.live.base import Still, ViewWidget, shown_as
from workbench.views.side_by_side import Pictures

COLUMNS = (("tree", "throughput"), ("batch", "tokens", "mask", "kv"))
"""Names of views, from the top: about equally high in all. Any other view stands below, as wide as both."""


class Dashboard(ipywidgets.VBox):
    """Two columns where there is room for them, filled to one height. `dashboard.views["tree"]` is one of the views."""

    def __init__(self, views: Sequence[ViewWidget]) -> None:
        self.views = {type(view).__module__.split(".")[-2]: view for view in views}
        for view in views:
            view.layout = ipywidgets.Layout(flex="1 1 auto", min_width="0")
        half = ipywidgets.Layout(flex="1 1 36em", min_width="0")
        columns = [ipywidgets.VBox([self.views[name] for name in names if name in self.views], layout=half) for names in COLUMNS]
        below = [view for name, view in self.views.items() if not any(name in names for names in COLUMNS)]
        super().__init__([ipywidgets.HBox(columns, layout=ipywidgets.Layout(flex_flow="row wrap")), *below])

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
