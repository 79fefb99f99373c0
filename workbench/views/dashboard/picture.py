"""The still pictures of several views as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.html.parts import View

COLUMNS = (("tree", "throughput"), ("batch", "tokens", "mask", "kv"))
"""Names of views, from the top: both columns are about equally high. Any other view stands below, as wide as both."""


@dataclass(frozen=True, repr=False)
class Pictures(View):
    pictures: tuple[View, ...]

    def to_text(self) -> str:
        return "\n\n".join(picture.to_text() for picture in self.pictures)

    def body(self) -> str:
        return "<hr>".join(picture.body() for picture in self.pictures)

    def styles(self) -> str:
        return "".join(dict.fromkeys(picture.styles() for picture in self.pictures))

    def to_dict(self) -> dict[str, Any]:
        return {type(picture).__name__: picture.to_dict() for picture in self.pictures}
