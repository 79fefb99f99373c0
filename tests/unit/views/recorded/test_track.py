"""Changes of values, in Python alone; `tests/js/test_recorded.py` has them read by the page's own script."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from workbench.views.recorded.track import Track, change_of

SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False) | st.text(max_size=3)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), SCALARS | st.lists(SCALARS, max_size=4), max_size=4)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=5) | OBJECTS, max_leaves=20)


def changed(old: Any, change: Any) -> Any:
    """Returns the value after a change."""
    if isinstance(change, list):
        return change[0]
    if "set" in change:
        kept = {key: value for key, value in old.items() if key not in change.get("drop", ())}
        return kept | {key: changed(old.get(key), one) for key, one in change["set"].items()}
    kept = old[change["from"] :][: change["length"]]
    rest = change["length"] - len(kept)
    items = [*kept, *[None] * rest]
    return [changed(item, change["at"][i]) if i in change["at"] else item for i, item in enumerate(items)]


@given(JSON, JSON)
def test_a_change_makes_the_new_value_of_the_old(old, new):
    change = change_of(old, new)
    assert repr(old if change is None else changed(old, change)) == repr(new) or _same(changed(old, change), new)


def _same(a: Any, b: Any) -> bool:
    """Returns whether values are equal, in any order of keys, where 1, 1.0 and true are three values."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b


def test_a_change_is_small_where_a_list_lost_its_first_items_or_one_item_changed():
    old = [[i, f"row {i}"] for i in range(100)]
    assert change_of(old, [*old[3:], [100, "new"]]) == {"from": 3, "length": 98, "at": {97: [[100, "new"]]}}
    new = [*old[:50], [50, "other"], *old[51:]]
    assert change_of(old, new) == {"from": 0, "length": 100, "at": {50: {"from": 0, "length": 2, "at": {1: ["other"]}}}}


def test_a_track_has_an_entry_only_where_its_value_changed():
    track = Track()
    for moment, value in enumerate([{"a": 1}, {"a": 1}, {"a": 1, "b": []}, {"b": []}]):
        track.put(moment, value)
    assert track.changes == [[0, [{"a": 1}]], [2, {"set": {"b": [[]]}}], [3, {"set": {}, "drop": ["a"]}]]
