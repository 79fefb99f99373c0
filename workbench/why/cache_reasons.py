"""Why the cache gave no more of a prompt, in words."""

from __future__ import annotations


def why_no_more(reason: str, num_cached: int, evicted_ago: float | None = None, elsewhere: int = 0) -> str:
    """For a reason of `PrefixMatched`; empty where the whole prompt was there."""
    match reason:
        case "diverged":
            return f"then the stored text goes on otherwise at token {num_cached}"
        case "evicted":
            return f"the rest was evicted {evicted_ago or 0:.1f} s ago"
        case "other namespace":
            return f"{elsewhere} would match in another namespace"
        case "nothing stored":
            return "the rest is not stored"
        case "below page size":
            return "the rest of the match is less than a page"
        case "scored":
            return "the rest is computed for its log-probabilities or hidden states"
        case "disabled":
            return "the prefix cache is off"
    return ""


def parted(num_cached: int, stored: str, asked: str) -> str:
    """Where a prompt goes its own way, with both texts."""
    there = f"the stored text goes on with {stored!r}, this prompt with {asked!r}"
    return f"then {there}" if num_cached else f"at the very first token {there}"
