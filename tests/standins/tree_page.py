"""The rows that a page has of the tree, in Python: as `withAllRows` of tree_layout.js."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_all_rows(news: Mapping[str, Any], rows: list[list[Any]]) -> dict[str, Any]:
    rest = {name: value for name, value in news.items() if name != "changed"}
    if "changed" not in news:
        return rest
    kept = {row[0]: row for row in rows if row[0] not in news["changed"]["gone"]}
    return rest | {"rows": list((kept | {row[0]: row for row in news["changed"]["rows"]}).values())}
