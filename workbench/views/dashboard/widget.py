"""All views of one engine on one page; a selection in one is followed by all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets

from workbench.views.dashboard.picture import COLUMNS, Pictures
from workbench.views.live.still import Still, with_picture
from workbench.views.live.widget import ViewWidget
from workbench.views.recorded.recording import Recording, record


class Dashboard(ipywidgets.VBox):
    """Two columns where there is room for them, filled to one height. `dashboard.views["tree"]` is one of the views."""

    def __init__(self, views: Mapping[str, ViewWidget[Any]]) -> None:
        self.views = dict(views)
        for view in self.views.values():
            view.layout = ipywidgets.Layout(flex="1 1 auto", min_width="0")
        half = ipywidgets.Layout(flex="1 1 36em", min_width="0")
        columns = [ipywidgets.VBox([self.views[name] for name in names if name in views], layout=half) for names in COLUMNS]
        below = [view for name, view in self.views.items() if not any(name in names for names in COLUMNS)]
        super().__init__([ipywidgets.HBox(columns, layout=ipywidgets.Layout(flex_flow="row wrap")), *below])

    @property
    def selection(self) -> dict[str, Any] | None:
        """The selection: {"kind": ..., "id": ...}; None for nothing."""
        return next((view.selection for view in self.views.values() if view.selection), None)

    def picture(self) -> Pictures:
        """Returns the present state of all views as one still picture."""
        return Pictures(tuple(view.picture() for view in self.views.values()))

    def recording(self) -> Recording:
        """Returns all that the views have shown since the event log began, for a page without Python."""
        return record({name: view.reader for name, view in self.views.items()})

    def save(self, path: str | Path, *, live: bool = False) -> None:
        """Writes the present pictures to a file of the kind its name ends in; with `live` an `.html` page that plays the run."""
        (self.recording() if live else self.picture()).save(path)

    def close(self) -> None:
        """Closes all views."""
        for view in self.views.values():
            view.close()
        super().close()

    def __repr__(self) -> str:
        return self.picture().to_text()

    def _ipython_display_(self) -> None:
        first = next(iter(self.views.values()))
        first.still = first.still or Still(first.reader.source.log, self.picture, self.recording)
        first.still_key = first.still.key
        first.still.display(self._repr_mimebundle_())

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return with_picture(super()._repr_mimebundle_(**kwargs), self.picture())
