"""The live token strip. Token detail is on while a page shows it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from workbench.views.live.base import ViewWidget, module, styles
from workbench.views.live.feed import Feed, Reader
from workbench.views.tokens.colours import MEASURES
from workbench.views.tokens.picture import no_detail


class OneRequest(ViewWidget):
    """A view of one request at a time: the one asked for, the one that is selected, or the newest."""

    def __init__(self, reader: Reader, **traits: Any) -> None:
        self._who = uuid.uuid4().hex
        super().__init__(reader, **traits)
        self._rid: str | None = reader.fold.rid  # type: ignore[attr-defined]
        reader.source.need_detail(self._who, True)

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if asked.get("do") != "show":
            return super().answer(asked)
        self.look_at(asked.get("rid"))
        return {}

    def look_at(self, rid: str | None) -> None:
        """Shows this request from now on; None for the newest."""
        self._rid = rid
        Feed.of(self.reader.source).flush()

    def refresh(self) -> None:
        with self.reader.lock:
            self.fold.show(self._rid)  # type: ignore[attr-defined]
            super().refresh()

    def close(self) -> None:
        self.reader.source.need_detail(self._who, False)
        super().close()

    def _set_shown(self, is_shown: bool) -> None:
        self.reader.source.need_detail(self._who, is_shown)
        super()._set_shown(is_shown)


class TokensWidget(OneRequest):
    _esm = module("tokens")
    _css = styles("tokens")

    def traits_of(self, state: dict[str, Any]) -> dict[str, Any]:
        scales = {name: [measure.words, *measure.levels] for name, measure in MEASURES.items()}
        told = {"by": self.fold.by, "measures": scales, "no_detail": no_detail("{}", self.fold.facts.by_magic)}  # type: ignore[attr-defined]
        return {"state": {**state, **told}}
