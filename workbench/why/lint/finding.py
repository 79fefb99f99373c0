"""The parts of a lint report: findings and costs."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.errors import WorkbenchError

CUT = "only the model ends it, and one that does not is cut at max_new_tokens: the {} is then incomplete"


@dataclass(frozen=True)
class Finding:
    """One thing that may go wrong with a constraint."""

    kind: str
    """One of `unsupported`, `unenforced`, `endless whitespace`, `runaway`, `narrower`, `order`, `stop`, `cost`."""
    where: str
    """A path in the JSON, or the part of the source; empty for the whole."""
    what: str
    why: str
    """The consequence."""
    todo: str
    """Advice."""


@dataclass(frozen=True)
class Cost:
    """The cost of compiling the whole constraint, or one sub-schema on its own."""

    where: str
    """The path of the sub-schema; empty for the whole."""
    seconds: float
    num_bytes: int
    mask_s: float | None = None
    """For the whole: seconds for a mask that is not cached, on average over random texts."""


def unsupported(where: str, error: WorkbenchError) -> Finding:
    """Returns the finding about a part that a request is refused for."""
    return Finding(
        "unsupported", where, error.message, "a request with it is refused", error.hint or "leave it out, or check it afterwards"
    )
