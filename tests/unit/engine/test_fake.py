"""The fake runner detects a wrong page, position or prefix, however little it reads in a step."""

from __future__ import annotations

import pytest

from workbench.engine.fake import FakeRunner, next_token
from workbench.engine.plan import PlannedSeq, SampleRow, StepPlan
from workbench.errors import CacheCorrupt
from workbench.types import SamplingParams, Segment

VOCAB, PAGE = 1000, 2
PROMPT = tuple(range(10, 18))
ROW = SampleRow(params=SamplingParams(), seed=0, position=0)


def step(runner: FakeRunner, num_cached: int, token_ids: tuple[int, ...], *segments: Segment, seq_id: int = 1) -> int:
    seq = PlannedSeq(seq_id, f"r{seq_id}", token_ids, num_cached, segments, (ROW,))
    return runner.execute(StepPlan(1, (seq,), PAGE)).seqs[0].drawn[0].token_id


@pytest.fixture
def runner() -> FakeRunner:
    """Pages 0 to 3 hold the prompt."""
    runner = FakeRunner(VOCAB)
    assert step(runner, 0, PROMPT, Segment(0, (0, 1, 2, 3))) == next_token(PROMPT, VOCAB)
    return runner


def test_the_next_token_follows_from_all_tokens_however_they_are_cut_into_steps_and_segments(runner):
    tokens = [*PROMPT]
    for pages in [(0, 1, 2, 3, 9), (0, 1, 2, 3, 9), (0, 1, 2, 3, 9, 5)]:
        tokens.append(len(tokens))
        assert step(runner, len(tokens) - 1, (tokens[-1],), Segment(0, pages)) == next_token(tokens, VOCAB)
    tokens.append(77)
    shared = [Segment(1, (0, 1)), Segment(2, (2, 3, 9)), Segment(0, (5,))]
    assert step(runner, len(tokens) - 1, (77,), *shared) == next_token(tokens, VOCAB)
    assert step(runner, 4, (5,), Segment(1, (0, 1)), Segment(0, (8,)), seq_id=2) == next_token((*PROMPT[:4], 5), VOCAB)


def test_a_page_out_of_order_is_noticed(runner):
    with pytest.raises(CacheCorrupt, match="slot 4 holds position 4, position 2 was expected"):
        step(runner, 8, (1,), Segment(0, (0, 2, 1, 3, 4)))


def test_a_page_that_was_never_written_is_noticed(runner):
    with pytest.raises(CacheCorrupt, match="slot 14 holds position -1"):
        step(runner, 8, (1,), Segment(0, (0, 1, 2, 7, 4)))


def test_too_few_pages_are_noticed(runner):
    with pytest.raises(CacheCorrupt, match="pages for 8 tokens, 9 were planned"):
        step(runner, 8, (1,), Segment(0, (0, 1, 2, 3)))


def test_what_another_sequence_wrote_over_changes_the_answer_or_is_noticed(runner):
    mine = Segment(0, (0, 1, 2, 3, 4))
    step(runner, 8, (1,), mine)
    other = (*PROMPT[:2], 99, PROMPT[3])
    step(runner, 0, other, Segment(0, (6, 1)), seq_id=2)  # page 1 belongs to another sequence
    assert step(runner, 9, (2,), mine) == next_token((*other, *PROMPT[4:], 1, 2), VOCAB)
    step(runner, 0, (5, 5), Segment(0, (3,)), seq_id=3)
    with pytest.raises(CacheCorrupt, match="slot 6 holds position 0, position 6 was expected"):
        step(runner, 9, (3,), mine)


def test_a_shared_prefix_in_front_of_the_wrong_pages_is_another_prefix(runner):
    step(runner, 0, (50, 51, 52, 53), Segment(0, (10, 11)), seq_id=2)
    assert step(runner, 8, (1,), Segment(1, (10, 11)), Segment(2, (2, 3, 4))) == next_token(
        (50, 51, 52, 53, *PROMPT[4:], 1), VOCAB
    )


def verify(runner: FakeRunner, *drafts: int) -> list[int]:
    """Returns the draws behind token 1 and behind each valid draft."""
    seq = PlannedSeq(1, "r1", (1, *drafts), 8, (Segment(0, (0, 1, 2, 3, 4, 5)),), (ROW,) * (1 + len(drafts)))
    return [drawn.token_id for drawn in runner.execute(StepPlan(1, (seq,), PAGE)).seqs[0].drawn]


def test_right_drafts_give_a_token_more_than_there_are(runner):
    first = next_token((*PROMPT, 1), VOCAB)
    second = next_token((*PROMPT, 1, first), VOCAB)
    assert verify(runner, first, second) == [first, second, next_token((*PROMPT, 1, first, second), VOCAB)]


def test_a_wrong_draft_gives_the_token_in_its_place_and_ends_there(runner):
    first = next_token((*PROMPT, 1), VOCAB)
    assert verify(runner, first, (first + 1) % VOCAB, 7)[:2] == [first, next_token((*PROMPT, 1, first), VOCAB)]
    assert len(verify(runner, (first + 1) % VOCAB, 7)) == 1


def test_the_slot_of_a_rejected_draft_is_written_again(runner):
    first = next_token((*PROMPT, 1), VOCAB)
    assert verify(runner, (first + 1) % VOCAB) == [first]
    mine = Segment(0, (0, 1, 2, 3, 4))
    assert step(runner, 9, (first,), mine) == next_token((*PROMPT, 1, first), VOCAB)
