"""Keys of the radix tree become texts in which pictures and adapted prompts have words."""

from __future__ import annotations

from workbench.engine.picture_keys import PictureKeys
from workbench.testing import make_request
from workbench.text.pictured import naming_pictures
from workbench.types import Picture


def key_of(text: str, *, adapts: bool = False, place: int | None = None) -> tuple[int, ...]:
    """Returns the key of a prompt of bytes, with a picture of two tokens at its place."""
    picture = Picture(digest="one", arrays={}, num_tokens=2, places=() if place is None else ((place, 2),), adapts=adapts)
    request = make_request("a", tuple(text.encode()), 1, pictures=() if place is None else (picture,))
    keys = PictureKeys()
    keys.meet(request, 0.0)
    return keys.tokens(request)


def named(ids: tuple[int, ...]) -> str:
    return naming_pictures(lambda ids: bytes(ids).decode())(ids)


def test_pictures_and_adapted_prompts_have_words():
    assert named(key_of("See it")) == "See it"
    assert named(key_of("See xx it", place=4)) == "See [picture 1: 2 tokens] it"
    assert named(key_of("See xx it", place=4, adapts=True)) == "[adapted] See [picture 1: 2 tokens] it"
    assert named(key_of("xx it", place=0, adapts=True)) == "[adapted] [picture 1: 2 tokens] it"
    assert named(()) == ""


def test_no_prefix_of_an_adapted_prompt_is_another_prompts():
    plain, adapted = key_of("See it"), key_of("See xx it", place=4, adapts=True)
    assert plain[0] != adapted[0]
    assert plain[1:4] == adapted[1:4]
