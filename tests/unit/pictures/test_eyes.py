"""Prompts with pictures become ids, the same whether a tokenizer has a token of pictures or not."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.errors import ModelUnsupported
from workbench.native.media import Shown
from workbench.native.prompts import Rendered
from workbench.pictures.eyes import Eyes
from workbench.pictures.places import encode_between, free_ids
from workbench.pictures.reader import Reader
from workbench.pictures.sight import Seen, Sight

START, PLACE = 1, 300


class Words:
    """A tokenizer of bytes, which puts a token before each text."""

    vocab_size = 256

    def encode(self, text: str, *, add_special_tokens: bool = True) -> tuple[int, ...]:
        return ((START,) if add_special_tokens else ()) + tuple(text.encode())

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return "<picture>"


class PlainSight(Sight):
    """A picture is two tokens, between its number and a dot."""

    def __init__(self) -> None:
        self.words, self.token_id, self.placeholder = Words(), PLACE, "<picture>"

    def see(self, picture: Image.Image) -> Seen:
        return Seen({"pixels": np.asarray(picture)}, "#<picture><picture>.", 2)

    def numbered(self, text: str, index: int) -> str:
        return text.replace("#", str(index))

    def encode(self, prompt, encode):
        return encode_between(
            prompt, {"<picture>": PLACE}, encode, lambda text: self.words.encode(text, add_special_tokens=False)
        )


def shown(colour: int) -> Shown:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (colour, 0, 0)).save(buffer, format="PNG")
    return Shown("image", buffer.getvalue())


def encode(text: str) -> tuple[int, ...]:
    return Words().encode(text, add_special_tokens=not isinstance(text, Rendered))


def ids_of(text: str) -> tuple[int, ...]:
    """Returns the ids of a text in which @ stands for the place of a vector."""
    return tuple(PLACE if letter == "@" else ord(letter) for letter in text)


@pytest.mark.parametrize(("prompt", "start"), [("a<picture>b<picture>", (START,)), (Rendered("a<picture>b<picture>"), ())])
def test_a_rendered_prompt_gets_no_second_start(prompt: str, start: tuple[int, ...]):
    seen = Eyes(PlainSight(), Reader(None)).prompt(prompt, [shown(1), shown(2)], encode, is_local=True)
    assert seen.ids == (*start, *ids_of("a0@@.b1@@."))
    assert [one.places for one in seen.pictures] == [((len(start) + 2, 2),), ((len(start) + 7, 2),)]


def test_ids_with_placeholders():
    seen = Eyes(PlainSight(), Reader(None)).prompt(tuple(b"a<picture>b"), [shown(1)], encode, is_local=True)
    assert seen.ids == ids_of("a0@@.b")


def test_free_ids_are_those_that_the_tokenizer_lacks():
    assert free_ids(Words(), 300, 2) == (256, 257)
    assert free_ids(Words(), 257, 2) == (256, -1)
    with pytest.raises(ModelUnsupported, match="all 256 ids"):
        free_ids(Words(), 256, 1)


def test_texts_between_marks_are_encoded_one_by_one(tmp_path: Path):
    marks = {"<a>": -1, "<b>": -2, "": -3}
    found = encode_between("x<a><a>y<b>", marks, lambda text: (0, *text.encode()), lambda text: (9, *text.encode()))
    assert found == (0, ord("x"), -1, -1, 9, ord("y"), -2, 9)
