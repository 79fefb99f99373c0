"""Makes text of unknown origin safe to show: nothing in it can act on a terminal or a page, or be invisible.

Prompts and completions may hold anything: terminal commands, text that turns the reading direction around, characters
without width, broken UTF-8. Each such character is replaced by a mark one can see. Newline and tab stay.
"""

from __future__ import annotations

import html
import re

_EMOJI = "\u203c-\u3299\U0001f000-\U0001faff"
# Controls, format characters and fillers that draw nothing, line separators, variation selectors that can carry
# hidden data, and lone surrogates. A joiner inside an emoji is part of the picture and stays.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff]"
    rf"|(?<![{_EMOJI}\ufe0f])\u200d|\u200d(?![{_EMOJI}])"
)


def visible(text: str) -> str:
    """Returns `text` with every character replaced that would act or be invisible: ESC becomes ␛, U+202E becomes ⟨U+202E⟩.

    The result holds no terminal escape, no control but newline and tab, nothing bidirectional or without width, and
    always encodes as UTF-8.
    """
    return _HIDDEN.sub(_mark, text)


def to_html(text: str) -> str:
    """Returns `visible(text)`, escaped for HTML text and for attribute values in either kind of quotes."""
    return html.escape(visible(text))


def _mark(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\u27e8U+{code:04X}\u27e9"
