"""Text that is shown cannot act on a terminal or a page, and cannot hide."""

from __future__ import annotations

import html
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.html.escape import to_html, visible


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain text,\n\tindented: é 漢字 😀", "plain text,\n\tindented: é 漢字 😀"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("over\rwritten\x00\x07\x7f", "over␍written␀␇␡"),
        ("\x9b2J", "⟨U+009B⟩2J"),
        ("a\u202eb\u2066c\u200f", "a⟨U+202E⟩b⟨U+2066⟩c⟨U+200F⟩"),
        ("zero\u200bwidth\ufeff\u00ad\u2060", "zero⟨U+200B⟩width⟨U+FEFF⟩⟨U+00AD⟩⟨U+2060⟩"),
        ("a\u200db", "a⟨U+200D⟩b"),
        ("👩\u200d🔬 ❤\ufe0f\u200d🔥", "👩\u200d🔬 ❤\ufe0f\u200d🔥"),
        ("\ud83d alone", "⟨U+D83D⟩ alone"),
        ("tag\U000e0041", "tag⟨U+E0041⟩"),
        ("line\u2028end", "line⟨U+2028⟩end"),
    ],
)
def test_hidden_characters_are_shown_as_marks(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_markup_is_escaped_in_text_and_in_attributes() -> None:
    assert to_html("<script>alert('x')</script> & \"") == "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot;"


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_any_text_becomes_harmless_and_stays_so(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert visible(shown) == shown
    for char in shown:
        category = unicodedata.category(char)
        assert category not in {"Cc", "Zl", "Zp", "Cs"} or char in "\n\t", hex(ord(char))
        assert unicodedata.bidirectional(char) not in {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    assert html.unescape(to_html(text)) == shown
    assert not set("<>\"'") & set(to_html(text))


def test_every_format_character_that_draws_nothing_is_marked() -> None:
    draws = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
    for code in range(0x110000):
        if unicodedata.category(chr(code)) == "Cf" and code not in draws:
            assert visible(f"a{chr(code)}b") != f"a{chr(code)}b", hex(code)
