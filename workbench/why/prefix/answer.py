"""The answer of `engine.cache.explain(prompt)`: how much of a prompt would be reused, and why no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from workbench.html.escape import to_html, visible
from workbench.html.parts import card
from workbench.why.prefix.reasons import why_no_more

SHOWN_TOKENS = 8


class CacheAnswer(dict[str, Any]):
    """`answer["num_cached"]`, `["reason"]`, ...: the facts, all of them plain JSON. Prints as `answer.sentence`."""

    def __init__(self, found: dict[str, Any], token_ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> None:
        """Takes the cache's answer for `token_ids`; `decode` gives the text of tokens."""
        num_cached = found["num_cached"]
        super().__init__(prompt_tokens=len(token_ids), **found)
        self.cached_text = decode(token_ids[:num_cached])
        self.rest = decode(token_ids[num_cached:])
        """Text that is computed."""
        self.next_text = decode(token_ids[num_cached : num_cached + SHOWN_TOKENS])
        """The first words of `rest`."""
        self.expected_text = decode(found["expected"])
        """The stored text at the place where the prompt differs."""

    @property
    def sentence(self) -> str:
        """One sentence with both numbers and the reason."""
        why = why_no_more(
            self["reason"], self["num_cached"], evicted_ago=self["evicted_ago"], elsewhere=self["elsewhere"],
            stored=self.expected_text, asked=self.next_text,
        )  # fmt: skip
        reused = f"{self['num_cached']:,} of {self['prompt_tokens']:,} tokens would be reused"
        return f"{reused}: {why or 'all but the last, which is always computed'}."

    def __str__(self) -> str:
        return self.sentence

    def __repr__(self) -> str:
        return visible(self.sentence)

    def _repr_html_(self) -> str:
        text = f"<u>{to_html(self.cached_text)}</u>{to_html(self.rest)}"
        key = '<p class="wb-soft">underlined: reused from the cache</p>'
        return card(f'<p>{to_html(self.sentence)}</p><div class="wb-text">{text}</div>{key}')
