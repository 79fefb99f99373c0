"""The page account: every page is free or owned, exactly once."""

from __future__ import annotations

import tracemalloc

import pytest

from workbench.cache.pages import PagePool
from workbench.errors import CacheCorrupt


def test_the_lowest_pages_leave_first():
    pool = PagePool(8)
    assert pool.take(3) == [0, 1, 2]
    assert pool.num_free == 5


def test_a_page_that_came_back_is_the_next_to_leave():
    pool = PagePool(8)
    pool.take(5)
    pool.give([3, 1])
    assert pool.take(3) == [1, 3, 5]


def test_a_huge_pool_costs_what_is_taken_of_it():
    """A tiny model beside much memory has a hundred million pages."""
    tracemalloc.start()
    pool = PagePool(10**12)
    pool.give(pool.take(100)[::2])
    assert pool.num_free == 10**12 - 50
    pool.check(range(1, 100, 2))
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_more_pages_than_there_are_cannot_be_taken():
    with pytest.raises(AssertionError):
        PagePool(2).take(3)


def test_the_check_passes_while_free_and_owned_pages_are_all_pages():
    pool = PagePool(4)
    pool.check(pool.take(2))


@pytest.mark.parametrize("owned", [[0], [0, 1, 1], [0, 1, 3]], ids=["one is lost", "one has two owners", "one is free and owned"])
def test_the_check_names_what_does_not_balance(owned):
    pool = PagePool(4)
    pool.take(2)
    with pytest.raises(CacheCorrupt, match="of 4 pages"):
        pool.check(owned)
