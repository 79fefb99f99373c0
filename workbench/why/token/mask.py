"""The mask at one place of a constrained text: how many tokens of each class it allows, and which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from workbench.grammar import Vocabulary
from workbench.html.escape import to_html, visible
from workbench.html.parts import lines, plural
from workbench.types import GrammarSpec
from workbench.why.answer import TAIL, Answer, Token
from workbench.why.token.place import Place
from workbench.why.words import either, quoted

CLASSES = (
    "end of the text", "words after a space", "letters", "digits", "punctuation", "white space", "mixed", "beyond ASCII",
    "parts of a character", "special",
)  # fmt: skip
NUM_EXAMPLES = 6
NUM_SHOWN = 60


@dataclass(frozen=True)
class ClassShare:
    """The allowed tokens of one class."""

    name: str
    num_allowed: int
    num_tokens: int
    examples: tuple[Token, ...]
    """Some allowed tokens, the shortest first."""


@dataclass(frozen=True, repr=False)
class MaskAt(Answer):
    """The tokens that may come as output token number `step`."""

    spec: GrammarSpec
    text: str
    """The text before it."""
    step: int
    num_allowed: int
    num_tokens: int
    """The size of the vocabulary."""
    classes: tuple[ClassShare, ...]
    """The classes that the vocabulary has."""
    tokens: tuple[Token, ...]
    """Allowed tokens, the shortest first, at most `NUM_SHOWN`."""
    expected: tuple[str, ...]
    """The characters or texts that may come, in words."""
    place: Place | None
    chosen: Token | None = None
    """The token that the request has there."""

    @property
    def sentence(self) -> str:
        where = f", after {quoted(self.text[-TAIL:])}" if self.text else ""
        share = f"{self.num_allowed:,} of {plural(self.num_tokens, 'token')}"
        came = f" {self.chosen} came." if self.chosen is not None else ""
        return f"At step {self.step}{where}, {share} may come{self._in_place()}: {either(self.expected)}.{came}"

    def _in_place(self) -> str:
        return f" ({self.place.words})" if self.place is not None else ""

    def to_text(self) -> str:
        rows = [(c.name, f"{c.num_allowed:,}", f"{c.num_tokens:,}", " ".join(map(str, c.examples))) for c in self.classes]
        return "\n".join([visible(self.sentence), visible(lines(("class", "allowed", "of", "as"), rows, numeric=(1, 2)))])

    def body(self) -> str:
        rows = "".join(map(_row, self.classes))
        head = '<tr><th>class</th><th class="wb-num">allowed</th><th class="wb-num">of</th><th></th><th>as</th></tr>'
        chips = "".join(f"<span>{to_html(token.text)}</span> " for token in self.tokens)
        more = self.num_allowed - len(self.tokens)
        rest = f'<span class="wb-soft">and {more:,} more</span>' if more > 0 else ""
        return (
            f"<p>{to_html(self.sentence)}</p><table><thead>{head}</thead><tbody>{rows}</tbody></table>"
            f'<div class="wb-text wb-tok">{chips}{rest}</div>'
        )


def _row(share: ClassShare) -> str:
    width = 100 * share.num_allowed / share.num_tokens
    drawn = (
        f'<div class="wb-bar"><span class="wb-decode" style="flex:0 0 {width:.1f}%"></span></div>' if share.num_allowed else ""
    )
    examples = to_html(" ".join(map(str, share.examples)))
    return (
        f'<tr><td>{share.name}</td><td class="wb-num">{share.num_allowed:,}</td><td class="wb-num">{share.num_tokens:,}</td>'
        f'<td class="wb-way">{drawn}</td><td>{examples}</td></tr>'
    )


def classes_of(vocabulary: Vocabulary) -> np.ndarray[Any, Any]:
    """Returns uint8 [V]: the index into CLASSES of each token."""
    found = _KNOWN.get(vocabulary)
    if found is None:
        spelled = enumerate(vocabulary.pieces)
        found = np.array([_class_of(data, i in vocabulary.eos_token_ids) for i, data in spelled], dtype=np.uint8)
        _KNOWN[vocabulary] = found
    return found


def _class_of(data: bytes, is_end: bool) -> int:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return CLASSES.index("parts of a character")
    bare = text.strip()
    if is_end or not data:
        name = "end of the text" if is_end else "special"
    elif not bare:
        name = "white space"
    elif not bare.isascii():
        name = "beyond ASCII"
    elif bare.isalpha():
        name = "words after a space" if text[0].isspace() else "letters"
    elif bare.isdigit():
        name = "digits"
    else:
        name = "mixed" if any(map(str.isalnum, bare)) else "punctuation"
    return CLASSES.index(name)


_KNOWN: WeakKeyDictionary[Vocabulary, np.ndarray[Any, Any]] = WeakKeyDictionary()
