"""The base of all answers about a constraint: one sentence, the same as JSON, and a picture of the place it names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from workbench.html.parts import View
from workbench.why.words import quoted

TAIL = 40
"""Characters of the text so far that a sentence quotes, from its end."""


@dataclass(frozen=True)
class Token:
    """A token, or a text that is no single token: its `token_id` is None."""

    token_id: int | None
    text: str

    def __str__(self) -> str:
        return quoted(self.text)


class Answer(View):
    """A view with a sentence. A subclass is a dataclass with a field `spec`, the constraint."""

    @property
    def sentence(self) -> str:
        """The whole answer in one sentence."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.sentence

    def to_dict(self) -> dict[str, Any]:
        """Returns the sentence and all fields as plain JSON."""
        facts = asdict(self)  # type: ignore[call-overload]
        return {"sentence": self.sentence, **facts, "spec": {"kind": facts["spec"].kind, "text": facts["spec"].text}}
