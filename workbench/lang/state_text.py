"""`StateText`: the prompt of one state as its nodes make it, and its text as readers of a streamed run follow it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.common_prefix import num_common
from workbench.errors import ProgramMistake, WorkbenchError
from workbench.lang.growing_text import Flow
from workbench.lang.nodes import RoleBegin, RoleEnd, Text
from workbench.lang.prompt import Part, Prompt
from workbench.lang.run_state import RunState
from workbench.lang.source_line import SourceLine


class StateText:
    """The parts of one state so far. Only the thread that works through the state's nodes changes it."""

    def __init__(self, run: RunState) -> None:
        self._run = run
        self.parts: tuple[Part, ...] = ()
        self.tools: tuple[Mapping[str, Any], ...] = ()
        """Tools of the last generation."""
        self.role_place: SourceLine | None = None
        """Line that began the last message."""
        self.flow = Flow()
        """Text as it grows; empty unless the run is streamed."""
        self._shown = ""
        """The text in `flow`."""
        self._num_inherited = 0
        """Number of parts that the state took over from its parent."""
        self._scopes: list[int] = []
        """First part of each variable scope that is open."""

    def prompt(self, tools: tuple[Mapping[str, Any], ...] = ()) -> Prompt:
        return Prompt(self.parts, tools)

    def inherit(self, parts: tuple[Part, ...]) -> None:
        """Begins with the parts of the parent."""
        self.parts, self._num_inherited = parts, len(parts)

    # -- appending ----------------------------------------------------------------------------------------------

    def append(self, part: Part, *, is_shown: bool = False) -> None:
        """Adds a part; `is_shown`: readers have its text already."""
        if not isinstance(part, Text) or part.value:
            self.parts += (part,)
        if not is_shown:
            self._show_all()

    def append_own(self, child: StateText) -> None:
        """Adds the parts that a child has made itself."""
        self.parts += child.parts[child._num_inherited :]
        self._show_all()

    def begin_role(self, node: RoleBegin, place: SourceLine) -> None:
        """Begins a message. Raises ProgramMistake inside another one."""
        if (open_role := self.prompt().open_role) is not None:
            raise ProgramMistake(
                f"a message of role {node.role} begins inside one of role {open_role}", hint="messages stand one after the other"
            )
        self.role_place = place
        self.append(node)

    def end_role(self, node: RoleEnd) -> None:
        """Ends a message. Raises ProgramMistake where none of this role is open."""
        if self.prompt().open_role != node.role:
            message = f"{node.role}_end() stands where no message of this role is open"
            raise ProgramMistake(message, hint=f"{node.role}_begin() opens one")
        self.append(node)

    def begin_scope(self) -> None:
        """Begins a part of the text that gets a name."""
        self._scopes.append(len(self.parts))

    def end_scope(self) -> str:
        """Ends the innermost scope. Returns its text."""
        return "".join(part.value for part in self.parts[self._scopes.pop() :] if isinstance(part, Text))

    # -- readers ------------------------------------------------------------------------------------------------

    def show(self, piece: str) -> None:
        """Passes new text of a generation to readers."""
        if self._run.is_streamed:
            self._shown += piece
            self.flow.put(piece)

    def _show_all(self) -> None:
        """Passes literal text and role marks to readers, as the backend writes them."""
        if not self._run.is_streamed:
            return
        try:
            text = self._run.backend.text_of(self.prompt())
        except WorkbenchError:  # a template may refuse half a conversation: shown once it is complete
            return
        same = len(self._shown) if text.startswith(self._shown) else num_common(text, self._shown)
        self.flow.put(text[same:])
        self._shown = text
