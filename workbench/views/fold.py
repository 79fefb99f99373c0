"""What every live view is at its core: a fold over the event log. No clock, no thread, no widget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from workbench.errors import InvalidRequest
from workbench.events import Event
from workbench.html.parts import View
from workbench.text.readable import no_text
from workbench.types import GrammarSpec

Handlers = Mapping[type[Event], Callable[[Any], None]]


@dataclass(frozen=True)
class Facts:
    """What of an engine never changes and events do not repeat."""

    decode: Callable[[Sequence[int]], str] = no_text
    """Text of token ids, special tokens included."""
    model: str = ""
    page_size: int = 1
    num_pages: int = 0
    tokenizer: Any = None
    """The Hugging Face tokenizer, where there is one."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """`get_server_info()` without what changes."""
    grammar: Callable[[GrammarSpec], Any] | None = None
    """A constraint for this model's tokens, to be asked (`workbench.Grammar`); None without a tokenizer."""
    by_magic: bool = False
    """Whether `%wb load` opened the engine: advice then names magics, and Python otherwise."""

    def plain(self, token_ids: Sequence[int]) -> str:
        """Their text without special tokens."""
        return self.decode([token for token in token_ids if token not in self._special_ids])

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids) if self.tokenizer is not None else frozenset()

    def opens(self, view: str) -> str:
        """What one types to open one of the engine's views."""
        return f"%wb {view}" if self.by_magic else f'engine.view("{view}")'

    @property
    def begins(self) -> str:
        """What one types to have something to look at."""
        return "%%wb_chat or %%wb_gen" if self.by_magic else 'engine.generate("Once upon a time")'


class Fold:
    """`apply` takes every event of the log in order and changes only the fold. The same events always give the same state.

    A fold may begin anywhere: what an event says of requests or nodes it never heard of is ignored.
    """

    keeps_history = False
    """Whether it shows what has ended: after a gap it is given what the log still holds, and then the engine's present state."""
    note = ""
    """What the view has to say of itself instead of a picture, in at most two lines: "no request is called r7\\n...".."""
    sees = ""
    """What one sees in it, in one line."""
    empty = ""
    """While there is nothing to see: that, and what one types to change it."""

    def __init__(self, facts: Facts | None = None) -> None:
        self.facts = facts or Facts()
        self.version = 0
        """Rises with every event that concerned it: nothing new to draw while it stays."""
        self._handlers = self.handlers()

    def handlers(self) -> Handlers:
        """The method for each type of event that concerns this view."""
        raise NotImplementedError

    def apply(self, event: Event) -> None:
        handle = self._handlers.get(type(event))
        if handle is not None:
            handle(event)
            self.version += 1

    def apply_present(self, event: Event) -> None:
        """The same for an event of a snapshot, which tells the engine's present state behind what is known of its past."""
        self.apply(event)

    def picture(self) -> View:
        """The present state as a static picture."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What the live view draws: plain JSON, at most some thousand rows whatever the load."""
        raise NotImplementedError

    def detail(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """More about one thing, when it is clicked: {"do": "detail", "id": ...}. Plain JSON."""
        raise InvalidRequest("detail", asked, "something this view can tell more about")
