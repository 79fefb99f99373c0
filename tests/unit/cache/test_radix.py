"""The radix tree, one behaviour at a time: letters are tokens, and a page holds one of them unless `page_size` is given."""

from __future__ import annotations

from itertools import count

import pytest

from workbench.cache.eviction import EVICTION
from workbench.cache.radix import Match, Node, RadixTree, path_to
from workbench.events import EventLog, NodeAdded, NodeEvicted, NodeSplit


def tokens(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


class Letters:
    """A tree of texts whose pages are numbered in the order of insertion."""

    def __init__(self, *texts: str, page_size: int = 1) -> None:
        self.log = EventLog()
        self.tree = RadixTree(page_size, EVICTION["lru"], self.log, count().__next__)
        self.next_page = 0
        for text in texts:
            self.insert(text)

    def insert(self, text: str, namespace: str = "") -> Node:
        """Stores the part of a text that the tree does not hold, as a request does that computed it."""
        match = self.match(text, namespace)
        node = self.tree.fork_at(match) if match.num_tokens else self.tree.root(namespace)
        rest = tokens(text)[match.num_tokens :]
        if not rest:
            return node
        pages = range(self.next_page, self.next_page + len(rest) // self.tree.page_size)
        self.next_page += len(pages)
        return self.tree.insert(node, rest, pages, "r")

    def match(self, text: str, namespace: str = "") -> Match:
        return self.tree.match(tokens(text), namespace)

    def shape(self, node: Node | None = None) -> dict:
        """Returns the tree as nested dicts, by the text of each edge."""
        node = self.tree.root("") if node is None else node
        return {"".join(map(chr, child.token_ids)): self.shape(child) for child in node.children.values()}

    def evict(self, num_pages: int) -> list[str]:
        return ["".join(map(chr, node.token_ids)) for node, _ in self.tree.evict(num_pages, "r")]


def test_texts_with_a_common_beginning_share_it():
    tree = Letters("the cat", "the dog", "a bird")
    assert tree.shape() == {"the ": {"cat": {}, "dog": {}}, "a bird": {}}
    assert tree.tree.num_pages == len("the cat") + len("dog") + len("a bird")


def test_a_text_that_goes_on_is_a_child():
    assert Letters("the", "the cat").shape() == {"the": {" cat": {}}}


def test_a_match_ends_inside_an_edge_and_changes_nothing():
    tree = Letters("the cat")
    match = tree.match("the dog")
    assert (match.num_tokens, match.num_in_node) == (4, 4)
    assert tree.shape() == {"the cat": {}}


def test_a_split_keeps_pages_in_order_and_the_old_node_below():
    tree = Letters("the cat")
    old = tree.match("the cat").node
    head = tree.tree.fork_at(tree.match("the "))
    assert path_to(old) == [head, old]
    assert head.segment.pages + old.segment.pages == tuple(range(7))
    assert [type(event) for event in tree.log.read()[1]] == [NodeAdded, NodeSplit]


def test_only_whole_pages_match():
    tree = Letters("abcdefgh", page_size=4)
    assert tree.match("abcdefgX").num_tokens == 4
    assert tree.match("abcX").num_tokens == 0


def test_two_children_may_begin_with_the_same_token_of_different_pages():
    tree = Letters("aabb", "aacc", page_size=4)
    assert tree.shape() == {"aabb": {}, "aacc": {}}


def test_namespaces_have_trees_of_their_own():
    tree = Letters("the cat")
    assert tree.match("the cat", "other").num_tokens == 0
    tree.insert("the cow", "other")
    assert tree.match("the cow", "other").num_tokens == 7
    assert tree.shape() == {"the cat": {}}


def test_a_limit_ends_a_match_and_a_longer_one_goes_on_from_there():
    tree = Letters("the cat")
    short = tree.tree.match(tokens("the cat"), "", limit=5)
    assert short.num_tokens == 5
    assert tree.tree.match(tokens("the cat"), "", None, short) == tree.match("the cat")


def test_a_match_is_outdated_by_a_child_where_it_ends_and_not_by_one_elsewhere():
    tree = Letters("the cat", "a bird")
    match = tree.match("the cat sat")
    tree.insert("a bird sings")
    assert tree.tree.is_current(match)
    tree.insert("the cat sat")
    assert not tree.tree.is_current(match)


def test_a_match_is_outdated_when_its_node_leaves():
    tree = Letters("the cat")
    match = tree.match("the cat")
    assert tree.evict(1) == ["the cat"]
    assert not tree.tree.is_current(match)


def test_leaves_leave_first_and_the_least_recently_used_of_them():
    tree = Letters("the cat", "the dog", "a bird")
    tree.tree.touch(tree.match("the cat").node, "r", 0.0)
    assert tree.evict(1) == ["dog"]
    assert tree.evict(9) == ["a bird", "cat"]
    assert tree.shape() == {"the ": {}}


def test_nothing_on_a_pinned_path_leaves():
    tree = Letters("the cat", "the dog")
    node = tree.match("the cat").node
    tree.tree.pin(node)
    assert tree.tree.num_evictable_pages == 3
    assert tree.evict(99) == ["dog"]
    tree.tree.unpin(node, 0.0)
    assert tree.evict(99) == ["cat", "the "]
    assert tree.tree.num_pages == 0


def test_an_eviction_says_who_needed_the_space():
    tree = Letters("the cat")
    tree.evict(1)
    (event,) = (event for event in tree.log.read()[1] if isinstance(event, NodeEvicted))
    assert (event.num_tokens, event.needed_by) == (7, "r")


def test_the_depth_of_a_node_counts_the_tokens_above_it():
    tree = Letters("the cat", "the dog")
    assert tree.match("the dog").node.depth == 7


@pytest.mark.parametrize("text", ["abc", "abcde"])
def test_a_node_holds_whole_pages(text):
    tree = Letters(page_size=4).tree
    with pytest.raises(AssertionError):
        tree.insert(tree.root(""), tokens(text), [0], "r")
