"""Pictures in the core: two of them share no K/V, the same one does, and chunks cut only those that may be cut."""

from __future__ import annotations

import pytest

from workbench.engine import picture_keys
from workbench.engine.crossing import looks
from workbench.engine.picture_keys import PictureKeys
from workbench.engine.plan import PlannedSeq
from workbench.engine.snapshot import snapshot
from workbench.events import PictureNumbered, RequestArrived, StepExecuted
from workbench.testing import events_of, make_core, make_request, run_to_end
from workbench.types import Picture, first_of

PROMPT = (5, 6, 7, *[9] * 6, 8)


def picture(name: str, **more: bool) -> Picture:
    return Picture(digest=name * 32, arrays={}, num_tokens=6, places=((3, 6),), **more)


@pytest.mark.parametrize("page_size", [1, 2])
@pytest.mark.parametrize("chunk", [-1, 4])
def test_two_pictures_under_one_prefix_share_only_that(page_size: int, chunk: int):
    core = make_core(page_size=page_size, chunked_prefill_size=chunk, sees=True)
    found = {}
    for rid, name in (("a", "1"), ("b", "2"), ("c", "1")):
        core.add(make_request(rid, PROMPT, 4, pictures=(picture(name),)))
        found |= run_to_end(core)
    assert found["a"].token_ids == found["c"].token_ids != found["b"].token_ids
    assert [found[rid].num_cached for rid in "abc"] == [0, 3 - 3 % page_size, 9 - 9 % page_size]


def test_pictures_together_in_one_batch_are_told_apart():
    core = make_core(sees=True)
    for rid, name in (("a", "1"), ("b", "2"), ("c", "1")):
        core.add(make_request(rid, PROMPT, 4, pictures=(picture(name),)))
    found = run_to_end(core)
    assert found["a"].token_ids == found["c"].token_ids != found["b"].token_ids


@pytest.mark.parametrize("chunk", range(1, 12))
def test_no_chunk_cuts_a_picture_that_is_whole(chunk: int):
    core = make_core(chunked_prefill_size=chunk, sees=True)
    core.add(make_request("a", PROMPT, 2, pictures=(picture("1", is_whole=True),)))
    ends = []
    while core.has_work:
        step = core.begin()
        if step is None:
            break
        ends += [seq.num_tokens for seq in step.plan.seqs]
        core.execute(step)
        core.finish(step)
    assert not set(ends) & set(range(4, 9))
    assert 10 in ends


def test_no_number_is_used_twice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(picture_keys, "MAX_KNOWN", 2)
    keys = PictureKeys()
    numbers, new = [], []
    for name in "12132":
        request = make_request("a", PROMPT, 1, pictures=(picture(name),))
        new.append([(one.number, one.digest[0]) for one in keys.meet(request, 0.0)])
        assert keys.tokens(request)[3] == -keys.numbers(request)[0]
        numbers += keys.numbers(request)
    assert numbers == [1, 2, 1, 3, 4]
    assert new == [[(1, "1")], [(2, "2")], [], [(3, "3")], [(4, "2")]]
    assert [one.number for one in keys.of({1, 3, 4})] == [3, 4]
    assert keys.tokens(make_request("a", PROMPT, 1)) == PROMPT


@pytest.mark.parametrize("chunk", [-1, 4])
def test_the_log_has_each_picture_once_and_how_many_of_a_steps_tokens_are_of_pictures(chunk: int):
    core = make_core(chunked_prefill_size=chunk, sees=True)
    for rid, name in (("a", "1"), ("b", "2"), ("c", "1")):
        core.add(make_request(rid, PROMPT, 4, pictures=(picture(name),)))
    run_to_end(core)
    assert [(event.number, event.digest[0]) for event in events_of(core, PictureNumbered)] == [(1, "1"), (2, "2")]
    assert [event.pictures for event in events_of(core, RequestArrived)] == [(1,), (2,), (1,)]
    members = [member for event in events_of(core, StepExecuted) for member in event.members]
    assert [sum(m.num_pictured for m in members if m.rid == rid) for rid in "ab"] == [6, 6]
    assert all(m.num_pictured == len(range(max(3, m.num_cached), min(9, m.num_cached + m.num_new))) for m in members)


def test_a_snapshot_has_the_pictures_of_the_tree_and_of_requests():
    core = make_core(sees=True)
    for rid, name in (("a", "1"), ("b", "2")):
        core.add(make_request(rid, PROMPT, 4, pictures=(picture(name),)))
        run_to_end(core)
    core.flush_cache()
    core.add(make_request("c", PROMPT, 4, pictures=(picture("3"),)))
    run_to_end(core)
    core.add(make_request("d", PROMPT, 4, pictures=(picture("2"),)))
    taken = snapshot(core).events
    assert [event.number for event in taken if isinstance(event, PictureNumbered)] == [2, 3]
    assert [event.pictures for event in taken if isinstance(event, RequestArrived)] == [(2,)]


def test_the_first_tokens_count_a_picture_as_one():
    assert first_of((1, 2, 3), 2) == (1, 2)
    assert first_of((1, -4, -4, -4, 2, 3), 3) == (1, -4, -4, -4, 2)
    assert first_of((-4, -4, -5, -5, 1), 1) == (-4, -4)
    assert first_of((), 3) == ()


def looks_of(pictures: tuple[Picture, ...], start: int, end: int) -> dict[int, str]:
    """Returns the names of the pictures that each new token at positions [start, end) sees."""
    seq = PlannedSeq(1, "a", (0,) * (end - start), start, (), pictures=pictures)
    return {
        start + row: "".join(picture.digest[0] for picture in seen)
        for first, stop, seen in looks(seq)
        for row in range(first, stop)
    }


def crossed(name: str, place: int) -> Picture:
    return Picture(digest=name * 32, arrays={}, num_tokens=1, places=((place, 1),), num_crossed=5)


def test_text_looks_at_the_pictures_right_before_it():
    pictures = (crossed("1", 2), crossed("2", 5), crossed("3", 6), crossed("4", 9))
    whole = looks_of(pictures, 0, 12)
    assert [whole.get(at, "") for at in range(12)] == ["", "", "1", "1", "1", "2", "23", "23", "23", "4", "4", "4"]
    for size in (1, 2, 3, 5):
        parts: dict[int, str] = {}
        for start in range(0, 12, size):
            parts |= looks_of(tuple(one for one in pictures if one.start < start + size), start, min(start + size, 12))
        assert parts == whole


def test_pictures_that_are_looked_at_stay_in_the_plan():
    core = make_core(sees=True, chunked_prefill_size=4)
    core.add(make_request("a", PROMPT, 3, pictures=(crossed("1", 2),)))
    plans = []
    while core.has_work and (step := core.begin()) is not None:
        plans.append(step.plan.seqs[0])
        core.execute(step)
        core.finish(step)
    assert [len(seq.pictures) for seq in plans] == [1] * len(plans)
    assert plans[-1].is_decode
