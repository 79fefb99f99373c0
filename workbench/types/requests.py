"""Requests, and the pages that they share."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from workbench.types.pictures import Axes, InputEmbeds, Picture
from workbench.types.sampling import SamplingParams


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One generation: token ids in, one continuation out. A prompt with `n` samples is `n` requests, a group."""

    rid: str
    input_ids: tuple[int, ...]
    """Token ids of the prompt; of one given as embeddings each is 0 and stands for nothing."""
    params: SamplingParams
    input_embeds: InputEmbeds | None = None
    """Embeddings of the prompt's places, where it was given as such."""
    pictures: tuple[Picture, ...] = ()
    """Pictures of the prompt in order. The ids at their tokens are those that stand for pictures in the vocabulary."""
    axes: Axes | None = None
    """Rotary positions, where they are not those of the tokens in the text."""
    group: str = ""
    """Id that the caller gave to all `n` samples of a prompt; aborting it ends them all. Empty for a single sample."""
    seed: int = 0
    """Resolved seed of this sample. The same seed gives the same draws, independent of the rest of the batch."""
    return_logprob: bool = False
    logprob_start_len: int = -1
    """First prompt position whose log-probability is returned. -1: output tokens only."""
    top_logprobs_num: int = 0
    token_ids_logprob: tuple[int, ...] = ()
    namespace: str = ""
    """Name of the radix tree (adapter, image set, tenant salt): requests share cached prefixes only within it."""
    priority: int = 0
    """Rank in the queue: higher is scheduled earlier; equal ones follow the schedule policy."""
    timeout_s: float | None = None
    origin: str = ""
    """Client that sent it, in words; empty for a call from Python."""
    custom_logit_processor: str | None = None
    return_hidden_states: bool = False
    """Switch to return the hidden states of the prompt, which then reuses no prefix, and of the output except its last
    token."""

    @property
    def picture_rows(self) -> dict[str, int]:
        """Rows of keys and values of the pictures that the text looks at by cross attention, by digest."""
        return {picture.digest: picture.num_crossed for picture in self.pictures if picture.is_crossed}


class EncodeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One text, or pair of texts, to make a vector of."""

    rid: str
    input_ids: tuple[int, ...]
    second_from: int | None = None
    """Index of the first token of a pair's second text; None for one text."""
    namespace: str = ""
    waited_s: float = 0.0
    """Seconds that it waited for the call that it is part of."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The pages of one tree node, or (`node_id` 0) the private pages of one sequence.

    Segments are compared by identity: two sequences share one if they hold the same object. A tree node makes only one.
    """

    node_id: int
    pages: tuple[int, ...]


def first_of(keys: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Returns the first tokens of a text as the tree has it. Those of one picture, a number below 0 each, count as one."""
    if not keys or min(keys[:count]) >= 0:
        return keys[:count]
    end = 0
    while end < len(keys) and count > 0:
        start = end
        end += 1
        while keys[start] < 0 and end < len(keys) and keys[end] == keys[start]:
            end += 1
        count -= 1
    return keys[:end]


def slots_of_pages(pages: list[int], page_size: int) -> list[int]:
    """Returns the KV slots of these pages, in order."""
    return pages if page_size == 1 else [page * page_size + offset for page in pages for offset in range(page_size)]
