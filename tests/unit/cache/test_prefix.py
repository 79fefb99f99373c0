"""The prefix cache as requests use it: look up, lease, grow, commit, release."""

from __future__ import annotations

from itertools import count

import pytest

from workbench.cache.eviction import EVICTION
from workbench.cache.prefix import Lease, PrefixCache
from workbench.errors import CacheCorrupt
from workbench.events import EventLog, PagesReturned, PagesTaken


def tokens(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def open_cache(num_pages: int = 20, page_size: int = 1, disabled: bool = False) -> PrefixCache:
    return PrefixCache(num_pages, page_size, EVICTION["lru"], EventLog(), count().__next__, disabled)


def admit(cache: PrefixCache, text: str, rid: str = "r") -> Lease:
    """Returns a lease with pages for the whole text; all of it may be reused."""
    lease = cache.lease(cache.match(tokens(text), "", len(text)), rid)
    assert cache.grow(lease, len(text))
    return lease


def store(cache: PrefixCache, *texts: str) -> None:
    for text in texts:
        with admit(cache, text) as lease:
            cache.commit(lease, tokens(text))


def account(cache: PrefixCache) -> tuple[int, int, int]:
    """Returns (free, tree, owned), after a check that these are all pages."""
    cache.check()
    assert cache.num_free_pages + cache.num_tree_pages + cache.num_owned_pages == cache.num_pages
    return cache.num_free_pages, cache.num_tree_pages, cache.num_owned_pages


# -- a life ----------------------------------------------------------------------------------------------------------


def test_pages_go_from_the_pool_to_a_request_to_the_tree():
    cache = open_cache(20)
    lease = admit(cache, "the cat")
    assert account(cache) == (13, 0, 7)
    cache.commit(lease, tokens("the cat"))
    assert account(cache) == (13, 7, 0)
    lease.release()
    assert account(cache) == (13, 7, 0), "the tree keeps them until the space is needed"
    assert cache.num_available_pages == 20


def test_the_next_request_leases_what_the_first_stored_and_takes_pages_for_the_rest():
    cache = open_cache(20)
    store(cache, "the cat")
    lease = admit(cache, "the dog")
    assert lease.num_shared == 4
    assert [segment.pages for segment in lease.segments()] == [(0, 1, 2, 3), (7, 8, 9)]


def test_a_release_without_a_commit_gives_the_pages_back():
    cache = open_cache(20)
    admit(cache, "the cat").release()
    assert account(cache) == (20, 0, 0)


def test_a_second_release_changes_nothing():
    cache = open_cache()
    lease = admit(cache, "cat")
    lease.release()
    lease.release()
    assert account(cache) == (20, 0, 0)


def test_what_two_requests_computed_at_once_is_stored_once():
    cache = open_cache(20)
    first, second = admit(cache, "the cat", "a"), admit(cache, "the cat", "b")
    cache.commit(first, tokens("the cat"))
    cache.commit(second, tokens("the cat"))
    assert account(cache) == (13, 7, 0)
    assert second.segments() == first.segments()


def test_a_part_of_a_page_stays_with_its_request():
    cache = open_cache(20, page_size=4)
    lease = admit(cache, "the cat")
    cache.commit(lease, tokens("the cat"))
    assert (lease.num_shared, len(lease.private)) == (4, 1)
    lease.release()
    assert account(cache) == (19, 1, 0)


def test_a_request_commits_again_as_it_goes_on():
    cache = open_cache(20)
    lease = admit(cache, "the")
    cache.commit(lease, tokens("the"))
    assert cache.grow(lease, 7)
    cache.commit(lease, tokens("the cat"))
    assert lease.num_shared == 7
    assert [node.token_ids for node in cache.nodes()] == [tokens("the"), tokens(" cat")]


# -- memory ----------------------------------------------------------------------------------------------------------


def test_growing_evicts_what_nobody_uses_and_no_more_than_it_needs():
    cache = open_cache(10)
    store(cache, "aaaa", "bbbb")
    lease = admit(cache, "cccc")
    assert account(cache) == (2, 4, 4)
    assert cache.match(tokens("bbbb"), "", 4).num_tokens == 4, "the newer one stayed"
    assert cache.grow(lease, 6)
    assert account(cache) == (0, 4, 6)


def test_growing_beyond_what_is_available_changes_nothing():
    cache = open_cache(10)
    store(cache, "aaaa")
    held = admit(cache, "aaaa")
    lease = admit(cache, "bb")
    assert not cache.grow(lease, 7)
    assert account(cache) == (4, 4, 2)
    held.release()
    assert cache.grow(lease, 7)


def test_trimming_gives_back_pages_behind_so_many_tokens():
    cache = open_cache(20, page_size=4)
    lease = admit(cache, "a" * 18)
    cache.trim(lease, 9)
    assert account(cache) == (17, 0, 3)
    cache.trim(lease, 9)
    assert account(cache) == (17, 0, 3)
    (event,) = (event for event in cache.log.read()[1] if isinstance(event, PagesReturned))
    assert event.pages == (3, 4)


def test_a_match_pins_only_what_is_not_pinned():
    cache = open_cache(20)
    store(cache, "the cat", "the dog")
    match = cache.match(tokens("the cat"), "", 7)
    assert cache.num_pages_pinned_by(match) == 7
    admit(cache, "the dog")
    assert cache.num_pages_pinned_by(match) == 3
    assert cache.num_pages_pinned_by(cache.match(tokens("a bird"), "", 6)) == 0


def test_a_flush_drops_what_no_request_uses():
    cache = open_cache(20)
    store(cache, "the dog")
    admit(cache, "the cat")
    assert cache.flush() == 3
    assert account(cache) == (13, 4, 3)


def test_pages_taken_in_one_plan_are_one_event():
    cache = open_cache(20)
    admit(cache, "ab", "one")
    admit(cache, "cd", "two")
    cache.tell_taken()
    cache.tell_taken()
    (event,) = (event for event in cache.log.read()[1] if isinstance(event, PagesTaken))
    assert [(taken.rid, taken.pages) for taken in event.taken] == [("one", (0, 1)), ("two", (2, 3))]


def test_a_disabled_cache_stores_and_finds_nothing():
    cache = open_cache(disabled=True)
    store(cache, "the cat")
    assert account(cache) == (20, 0, 0)
    assert cache.match(tokens("the cat"), "", 7).num_tokens == 0
    assert cache.explain(tokens("the cat")).reason == "disabled"


def test_the_check_sees_a_page_with_two_owners():
    cache = open_cache()
    one, two = admit(cache, "ab"), admit(cache, "cd")
    two.private[0] = one.private[0]
    with pytest.raises(CacheCorrupt):
        cache.check()


# -- why no more -----------------------------------------------------------------------------------------------------


def test_a_whole_prompt_is_all_but_its_last_token():
    cache = open_cache()
    store(cache, "the cat")
    found = cache.explain(tokens("the cat"))
    assert (found.reason, found.num_cached) == ("whole prompt", 6)


def test_a_prompt_that_parts_from_the_stored_text_is_told_what_stands_there():
    cache = open_cache()
    store(cache, "the cat")
    found = cache.explain(tokens("the dog"))
    assert (found.reason, found.num_cached, found.expected) == ("diverged", 4, tokens("cat"))


def test_an_empty_cache_has_nothing_stored():
    assert open_cache().explain(tokens("the cat")).reason == "nothing stored"


def test_what_was_evicted_is_remembered():
    cache = open_cache(10)
    store(cache, "the cat", "a bird")
    found = cache.explain(tokens("the cat sat"))
    assert found.reason == "evicted"
    assert found.evicted_ago is not None
    assert found.evicted_ago > 0


def test_a_prefix_of_another_namespace_is_named():
    cache = open_cache()
    store(cache, "the cat")
    found = cache.explain(tokens("the cat"), "other")
    assert (found.reason, found.num_cached, found.elsewhere) == ("other namespace", 0, 6)


def test_a_beginning_shorter_than_a_page_is_told_apart():
    cache = open_cache(page_size=4)
    store(cache, "the cats")
    assert cache.explain(tokens("the cow!!")).reason == "below page size"


def test_what_is_stored_and_yet_computed_is_scored():
    cache = open_cache()
    store(cache, "the cat")
    assert cache.explain(tokens("the cat"), "", 3).reason == "scored"


def test_the_root_of_a_namespace_leaves_with_its_last_node_and_its_last_lease():
    cache = open_cache(20)
    for i in range(5):
        with cache.lease(cache.match(tokens("ab"), f"embeddings {i}", 2), "r") as lease:
            assert cache.grow(lease, 2)
            cache.commit(lease, tokens("ab"))
    assert len(cache.tree.roots) == 5
    lease = cache.lease(cache.match(tokens("ab"), "other", 2), "r")
    cache.flush()
    cache.check()
    assert list(cache.tree.roots) == ["other"], "a request may store something there yet"
    lease.release()
    cache.check()
    assert not cache.tree.roots
