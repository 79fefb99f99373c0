"""One thing that may go wrong with a constraint, as `lint` tells it."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.errors import WorkbenchError

CUT = "only the model ends it, and one that does not is cut at max_new_tokens: the {} is then incomplete"


@dataclass(frozen=True)
class Finding:
    kind: str
    """One of `unsupported`, `unenforced`, `endless whitespace`, `runaway`, `narrower`, `order`, `stop`, `cost`."""
    where: str
    """A path in the JSON, or the part of the source; empty for the whole."""
    what: str
    why: str
    todo: str


def unsupported(where: str, error: WorkbenchError) -> Finding:
    return Finding(
        "unsupported", where, error.message, "a request with it is refused", error.hint or "leave it out, or check it afterwards"
    )
