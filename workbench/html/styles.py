"""Style sheets: files read once, without comments and white space, since each still picture carries its own copy."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

IMPORT = re.compile(r'@import "(\.{1,2}/[^"]+)";\n')
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
TIGHT = re.compile(r"\s*([{};,])\s*")


@cache
def stylesheet(path: Path) -> str:
    """Returns the rules of a CSS file. Files that it imports stand in front, in place of `@import "../other.css";`."""
    text = path.read_text("utf-8")
    imported = "".join(stylesheet((path.parent / name).resolve()) for name in IMPORT.findall(text))
    return imported + _tight(IMPORT.sub("", text))


def _tight(text: str) -> str:
    """Removes what no browser needs. White space before a colon stays: `.a :hover` is not `.a:hover`."""
    text = TIGHT.sub(r"\1", COMMENT.sub("", text))
    return re.sub(r"\s+", " ", text).replace(": ", ":").strip()
