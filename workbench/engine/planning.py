"""From sequences to planned sequences: which tokens a step computes of each, and which rows it samples."""

from __future__ import annotations

from collections.abc import Sequence as Ids
from dataclasses import dataclass, field

from workbench.engine.plan import PlannedSeq, SampleRow
from workbench.engine.sequence import Sequence
from workbench.grammar import Matcher, TokenRejected
from workbench.types import Picture


@dataclass(slots=True)
class Planner:
    eos_ids: frozenset[int]

    def plan(self, seq: Sequence, num_new: int, drafts: tuple[int, ...] = ()) -> PlannedSeq:
        """Returns the next `num_new` pending tokens of a running sequence, and rows if these are the last. Reads only.

        `drafts` are tokens that may follow, fewer than `num_left`; from the first that the grammar refuses they are left out.
        """
        assert seq.lease is not None
        request, start, is_last = seq.request, seq.num_computed, num_new == seq.num_pending
        score_from, score_ids = seq.score_span(num_new)
        rows = self._rows(seq, drafts) if is_last and seq.finish is None and seq.num_left > 0 else ()
        ids, first = (seq.output_ids, start - seq.num_prompt) if start >= seq.num_prompt else (seq.token_ids, start)
        token_ids = tuple(ids[first : first + num_new])
        return PlannedSeq(
            seq_id=seq.seq_id, rid=request.rid, token_ids=(*token_ids, *drafts[: len(rows) - 1]) if drafts else token_ids,
            num_cached=start, segments=seq.lease.segments(), rows=rows,
            score_from=score_from, score_ids=score_ids,
            top_logprobs_num=request.top_logprobs_num, token_ids_logprob=request.token_ids_logprob,
            hidden_from=seq.hidden_from(num_new), input_embeds=request.input_embeds if start < seq.num_prompt else None,
            pictures=_seen_in(request.pictures, start, start + num_new), axes=request.axes,
            is_adapted=any(picture.adapts for picture in request.pictures),
        )  # fmt: skip

    def _rows(self, seq: Sequence, drafts: tuple[int, ...]) -> tuple[SampleRow, ...]:
        """Returns the row behind the pending tokens, and one behind each draft that the grammar takes."""
        first = self._row(seq, (), seq.output.matcher)
        if not drafts:
            return (first,)
        matchers = [None] * len(drafts) if first.matcher is None else positions(first.matcher, drafts)
        return (first, *(self._row(seq, drafts[: i + 1], matcher) for i, matcher in enumerate(matchers)))

    def _row(self, seq: Sequence, drafts: tuple[int, ...], matcher: Matcher | None) -> SampleRow:
        """Returns the row behind so many drafts."""
        request, params = seq.request, seq.request.params
        position = len(seq.output_ids) + len(drafts)
        needs_history = params.has_penalties or seq.processor is not None
        return SampleRow(
            params=params, seed=request.seed, position=position,
            suppress=(*self.eos_ids, *params.stop_token_ids) if position < params.min_new_tokens else (),
            prompt_ids=request.input_ids if needs_history and request.input_embeds is None else (),
            output_ids=(*seq.output_ids, *drafts) if needs_history else (),
            matcher=matcher, processor=seq.processor, return_logprob=request.return_logprob,
            top_logprobs_num=request.top_logprobs_num, token_ids_logprob=request.token_ids_logprob,
        )  # fmt: skip


@dataclass(slots=True)
class Prefill:
    """The prefill part of one step while it is being put together."""

    planner: Planner
    budget: int
    """New tokens that it can still take."""
    is_for_one: bool
    """True if it takes one sequence only (`prefill_only_one_req`)."""
    seqs: list[PlannedSeq] = field(default_factory=list)

    @property
    def has_room(self) -> bool:
        return self.budget > 0 and not (self.is_for_one and self.seqs)

    def take(self, seq: Sequence) -> None:
        """Changes: adds the pending tokens of a sequence, or as many of them as fit."""
        num_new = _uncut(seq, min(seq.num_pending, self.budget))
        self.budget = max(self.budget - num_new, 0)
        self.seqs.append(self.planner.plan(seq, num_new))


def _seen_in(pictures: tuple[Picture, ...], start: int, end: int) -> tuple[Picture, ...]:
    """Returns the pictures that have tokens at positions [start, end), and those at which tokens there may look."""
    if not pictures:
        return ()
    return tuple(one for one in pictures if one.start < end and (one.is_crossed or one.end > start))


def _uncut(seq: Sequence, num_new: int) -> int:
    """Returns a number of new tokens, near `num_new`, that ends within no run of a picture which is to be whole: before the run,
    or behind one that would be the first of the chunk."""
    start = seq.num_computed
    for picture in seq.request.pictures:
        for first, count in picture.places if picture.is_whole else ():
            if first < start + num_new < first + count:
                num_new = first - start if first > start else first + count - start
    return num_new


def positions(matcher: Matcher, drafts: Ids[int]) -> list[Matcher]:
    """Returns forks of a matcher behind each of the drafts, up to the first that it refuses. Reads only."""
    found: list[Matcher] = []
    for draft in drafts:
        matcher = matcher.fork()
        try:
            matcher.accept(draft)
        except TokenRejected:
            break
        found.append(matcher)
    return found
