"""The `logprobs` object of `/v1/completions`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from workbench.native.results import LogprobEntry, MetaInfo, TopLogprobs


class LegacyLogprobs:
    """Makes `logprobs` objects: parallel lists of tokens, log-probabilities, likeliest tokens and places in the text."""

    def __init__(self, name: Callable[[int], tuple[str, bytes]]) -> None:
        self._name = name

    def whole(self, meta: MetaInfo) -> dict[str, Any]:
        """Returns the object of a whole result, the prompt's tokens first if they were asked for."""
        return self.since(meta, None)

    def since(self, meta: MetaInfo, before: MetaInfo | None) -> dict[str, Any]:
        """Returns the object of what `meta` adds to `before`."""
        entries, tops = _joined(meta)
        first = 0 if before is None else len(_joined(before)[0])
        texts = [self._name(entry[1])[0] for entry in entries]
        offsets = list(accumulate(map(len, texts), initial=0))
        return {
            "tokens": texts[first:],
            "token_logprobs": [entry[0] for entry in entries[first:]],
            "top_logprobs": [self._top(*pair) for pair in zip(entries[first:], tops[first:], strict=True)],
            "text_offset": offsets[first:-1],
        }

    def _top(self, entry: LogprobEntry, top: TopLogprobs) -> dict[str, float] | None:
        """Returns the likeliest tokens by their text, the token itself among them. Of two with one text the likelier counts."""
        if entry[0] is None:
            return None
        found: dict[str, float] = {}
        for logprob, token, _ in [*(top or ()), entry]:
            text = self._name(token)[0]
            found[text] = max(logprob, found.get(text, logprob))
        return found


def _joined(meta: MetaInfo) -> tuple[list[LogprobEntry], list[TopLogprobs]]:
    """Returns the entries of the prompt and of the output, and the likeliest tokens at their places."""
    entries = [*meta.get("input_token_logprobs", []), *meta.get("output_token_logprobs", [])]
    tops = [*meta.get("input_top_logprobs", []), *meta.get("output_top_logprobs", [])]
    return entries, tops or [None] * len(entries)
