"""The words for each reason why the cache had no more of a prompt. All explanations and views take them from here."""

from __future__ import annotations

from workbench.events import MatchReason
from workbench.html.parts import duration, plural


def why_no_more(
    reason: MatchReason,
    num_cached: int,
    *,
    evicted_ago: float | None = None,
    elsewhere: int = 0,
    stored: str = "",
    asked: str = "",
) -> str:
    """Returns a clause such as "the rest is not stored"; an empty text if the whole prompt was there.

    `stored` and `asked` are the next stored text and the prompt's own, for "diverged".
    """
    match reason:
        case "whole prompt":
            return ""
        case "diverged":
            return _diverged(num_cached, stored, asked)
        case "nothing stored":
            return "the rest is not stored" if num_cached else "nothing is stored yet"
        case "below page size":
            return "the rest of the match is less than a page"
        case "evicted":
            return f"the rest was evicted {duration(evicted_ago or 0.0)} ago"
        case "other namespace":
            return f"{plural(elsewhere, 'token')} would match in another namespace, which this one may not use"
        case "scored":
            return "the rest is computed for its log-probabilities or hidden states"
        case "disabled":
            return "the prefix cache is off"


def _diverged(num_cached: int, stored: str, asked: str) -> str:
    where = "then" if num_cached else "at the very first token"
    if not stored:
        return f"{where} the stored text is another"
    return f"{where} the stored text goes on with {stored!r}" + (f", this prompt with {asked!r}" if asked else "")
