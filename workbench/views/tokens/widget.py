"""The live views of one request: the token strip, and the mask. Token detail is on while a page shows one of them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

from workbench.html.parts import View
from workbench.views.live.feed import Feed
from workbench.views.live.reader import Reader
from workbench.views.live.widget import ViewWidget
from workbench.views.tokens.fold import RequestFold

RequestFoldT = TypeVar("RequestFoldT", bound=RequestFold[View])


class RequestWidget(ViewWidget[RequestFoldT]):
    """A view of one request at a time: the one asked for, the one that is selected, or the newest."""

    def __init__(self, reader: Reader[RequestFoldT], **traits: Any) -> None:
        self.detail_user = uuid.uuid4().hex
        """Name under which the view needs token detail."""
        super().__init__(reader, **traits)
        self._rid = reader.fold.rid
        reader.source.need_detail(self.detail_user, True)

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answers the usual messages, and {"do": "show", "rid": request}, which shows that request, or for None the newest."""
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
            self.fold.show(self._rid)
            super().refresh()

    def close(self) -> None:
        self.reader.source.need_detail(self.detail_user, False)
        super().close()

    def _set_shown(self, is_shown: bool) -> None:
        self.reader.source.need_detail(self.detail_user, is_shown)
        super()._set_shown(is_shown)
