"""The core of every live view: a fold over the event log. It has no clock, no thread and no widget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from workbench.errors import InvalidRequest
from workbench.events import Event
from workbench.html.parts import View
from workbench.text.readable import no_text
from workbench.types import GrammarSpec
from workbench.views.advice import IN_PYTHON, Advice

if TYPE_CHECKING:
    from workbench.pictures.eyes import Eyes

Handlers = Mapping[type[Event], Callable[[Any], None]]
PictureT = TypeVar("PictureT", bound=View, covariant=True)


@dataclass(frozen=True)
class Facts:
    """Facts about an engine that never change, which events therefore do not repeat."""

    decode: Callable[[Sequence[int]], str] = no_text
    """Text of token ids, special tokens included."""
    model: str = ""
    page_size: int = 1
    num_pages: int = 0
    tokenizer: Any = None
    """The Hugging Face tokenizer; None for an engine without one."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """The constant part of `get_server_info()`."""
    grammar: Callable[[GrammarSpec], Any] | None = None
    """Function that makes a constraint for this model's tokens (`workbench.Grammar`); None without a tokenizer."""
    eyes: Callable[[], Eyes] | None = None
    """Function that opens the reader of pictures, or raises a WorkbenchError; None for a model that sees none."""
    advice: Advice = IN_PYTHON
    """Words for what a reader may do next."""

    def plain(self, token_ids: Sequence[int]) -> str:
        """Returns the text of token ids without special tokens."""
        return self.decode([token for token in token_ids if token not in self._special_ids])

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids) if self.tokenizer is not None else frozenset()


class Fold(Generic[PictureT]):
    """State of a view, made from the events of a log. The same events always give the same state.

    A fold may begin anywhere in a log: it ignores the parts of events that concern earlier requests or nodes.
    """

    keeps_history: ClassVar[bool] = False
    """True for a view that shows what has ended. After a gap it gets the rest of the log before the engine's snapshot."""
    sees: ClassVar[str] = ""
    """Contents of the view, in one line."""

    def __init__(self, facts: Facts | None = None) -> None:
        self.facts = facts or Facts()
        self.version = 0
        """Number that rises with every event that concerns the view: while it stays, there is nothing new to draw."""
        self._handlers = self.handlers()

    def handlers(self) -> Handlers:
        """Returns the method for each type of event that concerns this view."""
        raise NotImplementedError

    def apply(self, event: Event) -> None:
        """Changes the fold by the next event of the log."""
        handle = self._handlers.get(type(event))
        if handle is not None:
            handle(event)
            self.version += 1

    def apply_present(self, event: Event) -> None:
        """Changes the fold by an event of a snapshot, which describes the present state."""
        self.apply(event)

    @property
    def note(self) -> str:
        """At most two lines that stand above the picture, such as "no request is called r7\\n..."; usually empty."""
        return ""

    @property
    def empty(self) -> str:
        """Line for a view without anything to see: that, and what changes it."""
        return ""

    def picture(self) -> PictureT:
        """Returns the present state as a still picture."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Returns what the live view draws: plain JSON, at most some thousand rows under any load."""
        raise NotImplementedError

    def detail(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Returns more about one thing as plain JSON. `asked` is the page's message: {"do": "detail", "id": ...}.

        Raises `InvalidRequest` for a thing that the view does not know.
        """
        raise InvalidRequest("detail", asked, "something that this view has more about")

    def questions(self) -> Iterable[tuple[dict[str, Any], Any]]:
        """Returns the messages for `detail` that a page may send about what it shows now, the most important first.

        Each comes with a mark: while that stays, so does the answer. A recording has these answers, and a page of it no others.
        """
        return ()

    def choices(self) -> Iterable[tuple[str, Any]]:
        """Returns what a page may choose to see instead, for a fold with a method `show`: (id, mark) each."""
        return ()
