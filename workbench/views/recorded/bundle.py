"""The scripts and style sheets of views, and what plays recordings with them, as one text each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from workbench.html.parts import CARD
from workbench.html.styles import stylesheet
from workbench.views.live.scripts import VIEWS, script

HERE = Path(__file__).parent
VIEWS_OF_PAGE = "workbenchViews"
"""Variable of the page with the default exports of all blocks; no module has a name like it."""
EXPORT = re.compile(r"^export (default )?", re.MULTILINE)


@cache
def scripts(names: tuple[str, ...]) -> str:
    """Returns one ES module that plays every recording in a page whose views are among these names.

    Each view is a block of its own, in which its names are its own.
    """
    blocks = [_block(name, script(VIEWS / name / "view.js")) for name in names]
    player = _block("player", script(HERE / "play.js"))
    return f"const {VIEWS_OF_PAGE} = {{}};\n{''.join(blocks)}{player}{VIEWS_OF_PAGE}.player({VIEWS_OF_PAGE});\n"


@cache
def styles(names: tuple[str, ...]) -> str:
    """Returns the rules of the player, of every card, of every live view and of these."""
    files: Iterable[Path] = (CARD, VIEWS / "live" / "live.css", HERE / "play.css", *(VIEWS / name / "view.css" for name in names))
    return "".join(map(stylesheet, files))


def _block(name: str, module: str) -> str:
    body = EXPORT.sub(lambda found: f"{VIEWS_OF_PAGE}.{name} = " if found[1] else "", module)
    return f"{{\n{body}}}\n"
