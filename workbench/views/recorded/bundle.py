"""The scripts and style sheets of views, and what plays recordings with them, as one text each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from workbench.html.parts import CARD
from workbench.html.styles import stylesheet
from workbench.views.live.scripts import VIEWS, joined, modules

HERE = Path(__file__).parent
VIEWS_OF_PAGE = "workbenchViews"
"""Variable of the page with the default exports of all blocks; no module has a name like it."""
EXPORT = re.compile(r"^export (default )?", re.MULTILINE)


@cache
def scripts(names: tuple[str, ...]) -> str:
    """Returns one ES module that plays every recording in a page whose views are among these names.

    What several views import comes first, once. Then each view is a block of its own, in which its names are its own.
    """
    needed = {name: modules(VIEWS / name / "view.js") for name in names} | {"player": modules(HERE / "play.js")}
    uses = Counter(path for found in needed.values() for path in found)
    shared = {path: text for found in needed.values() for path, text in found.items() if uses[path] > 1}
    blocks = [
        _block(name, joined({path: text for path, text in found.items() if path not in shared})) for name, found in needed.items()
    ]
    start = f"const {VIEWS_OF_PAGE} = {{}};\n{_plain(joined(shared), '')}"
    return f"{start}{''.join(blocks)}{VIEWS_OF_PAGE}.player({VIEWS_OF_PAGE});\n"


@cache
def styles(names: tuple[str, ...]) -> str:
    """Returns the rules of the player, of every card, of every live view and of these."""
    files: Iterable[Path] = (CARD, VIEWS / "live" / "live.css", HERE / "play.css", *(VIEWS / name / "view.css" for name in names))
    return "".join(map(stylesheet, files))


def _block(name: str, module: str) -> str:
    return f"{{\n{_plain(module, f'{VIEWS_OF_PAGE}.{name} = ')}}}\n"


def _plain(module: str, default: str) -> str:
    """Returns a module without the word `export`, and with `default` in the place of that of its default export."""
    return EXPORT.sub(lambda found: default if found[1] else "", module)
