"""What the cache has of a prompt and why it has no more: a sentence, a dict, and the prompt with the reused part marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from workbench.html.escape import to_html, visible
from workbench.html.parts import card, duration
from workbench.why.cache_reasons import parted

SHOWN_TOKENS = 8


class CacheAnswer(dict[str, Any]):
    """`answer["num_cached"]`, `["reason"]`, ...: the facts, all of them plain JSON. Prints as `answer.sentence`."""

    def __init__(self, found: dict[str, Any], token_ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> None:
        num_cached = found["num_cached"]
        super().__init__(prompt_tokens=len(token_ids), **found)
        self.cached_text = decode(token_ids[:num_cached])
        self.rest = decode(token_ids[num_cached:])
        """Text that is computed."""
        self.next_text = decode(token_ids[num_cached : num_cached + SHOWN_TOKENS])
        self.expected_text = decode(found["expected"])
        """What stands in the tree where the prompt goes its own way."""

    @property
    def sentence(self) -> str:
        num_cached, num_prompt = self["num_cached"], self["prompt_tokens"]
        return f"{num_cached:,} of {num_prompt:,} tokens would be reused: {self._why()}."

    def _why(self) -> str:
        match self["reason"]:
            case "whole prompt":
                return "all but the last, which is always computed"
            case "diverged":
                return parted(self["num_cached"], self.expected_text, self.next_text)
            case "nothing stored":
                return "the rest is not stored" if self["num_cached"] else "nothing is stored yet"
            case "below page size":
                return "what else is the same is less than a page"
            case "evicted":
                return f"the rest was stored and was evicted {duration(self['evicted_ago'])} ago"
            case "other namespace":
                return f"{self['elsewhere']:,} are stored in another namespace, which this one does not see"
            case "disabled":
                return "the prefix cache is off"
        return str(self["reason"])

    def __str__(self) -> str:
        return self.sentence

    def __repr__(self) -> str:
        return visible(self.sentence)

    def _repr_html_(self) -> str:
        text = f"<u>{to_html(self.cached_text)}</u>{to_html(self.rest)}"
        key = '<p class="wb-soft">underlined: reused from the cache</p>'
        return card(f'<p>{to_html(self.sentence)}</p><div class="wb-text">{text}</div>{key}')
