"""`ProgramState`: a program writes to it (`s += ...`), and its caller reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from workbench.errors import InvalidRequest, NotSupported, ProgramMistake
from workbench.lang import verbs
from workbench.lang.calls import Call, calls_of, find_answer, unknown_name
from workbench.lang.growing_text import Flow, Slot
from workbench.lang.nodes import Expr, JoinMode, Metas, ProgramNode, RoleBegin, RoleEnd, Seq, VarBegin, VarEnd, flatten
from workbench.lang.run_state import Replay
from workbench.lang.source_line import caller, placed

if TYPE_CHECKING:
    from workbench.lang.interpret import Executor
    from workbench.views.program.picture import ProgramView

Scope: TypeAlias = AbstractContextManager["ProgramState"]
"""A `with` block whose text belongs to a message or a variable."""
Edit: TypeAlias = Mapping[str, str] | Mapping[tuple[str, int], str] | Mapping[str | tuple[str, int], str]
"""Texts by the name of the generation, or by (name, number among those of that name, from 0)."""


class ProgramState:
    """The growing text of a program and its variables. Appending never waits; reading waits for the value that is read."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._unused: Seq | None = None
        self._ret_value: Any = None
        self._rerun: Callable[[Replay], ProgramState] | None = None

    # -- writing ------------------------------------------------------------------------------------------------

    def __iadd__(self, expr: Expr) -> ProgramState:
        nodes = tuple(flatten(expr))
        place = caller()
        if self._unused is not None and any(node is self._unused.nodes[0] for node in nodes):
            self._unused = None
        self._settle()
        for node in nodes:
            self._executor.submit(node, place)
        return self

    def __add__(self, expr: Expr) -> ProgramState:
        raise ProgramMistake("s + ... makes no new state", hint="s += ... appends to this one, s.fork(n) makes others")

    @overload
    def system(self, expr: None = None) -> Scope: ...
    @overload
    def system(self, expr: Expr) -> Seq: ...
    def system(self, expr: Expr | None = None) -> Scope | Seq:
        """Appends a system message: `s.system("text")`, with or without `s +=` before it, or `with s.system(): ...`."""
        return self.role("system", expr)

    @overload
    def user(self, expr: None = None) -> Scope: ...
    @overload
    def user(self, expr: Expr) -> Seq: ...
    def user(self, expr: Expr | None = None) -> Scope | Seq:
        """Appends a message of the user: `s.user("text")`, with or without `s +=` before it, or `with s.user(): ...`."""
        return self.role("user", expr)

    @overload
    def assistant(self, expr: None = None) -> Scope: ...
    @overload
    def assistant(self, expr: Expr) -> Seq: ...
    def assistant(self, expr: Expr | None = None) -> Scope | Seq:
        """Appends a message of the model: `s.assistant(gen("x"))`, with or without `s +=`, or `with s.assistant(): ...`."""
        return self.role("assistant", expr)

    @overload
    def role(self, name: str, expr: None = None) -> Scope: ...
    @overload
    def role(self, name: str, expr: Expr) -> Seq: ...
    def role(self, name: str, expr: Expr | None = None) -> Scope | Seq:
        """Appends a message of any role that the model's template has, in the same three forms."""
        if expr is None:
            return self._within(RoleBegin(name), RoleEnd(name))
        self._settle()
        self._unused = verbs.role(name, expr)
        return self._unused

    def var_scope(self, name: str) -> Scope:
        """Returns a block whose text is bound to a name: `with s.var_scope("name"): ...`, then `s["name"]`."""
        return self._within(VarBegin(name), VarEnd(name))

    def fork(self, size: int = 1, position_ids_offset: None = None) -> ForkGroup:
        """Returns `size` states that share the text so far and go on independently. Raises InvalidRequest for a size below 1."""
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InvalidRequest("the number of forks", size, "an integer of at least 1")
        if position_ids_offset is not None:
            raise NotSupported("fork(position_ids_offset=...) is not available", hint="leave it out: positions follow the text")
        self._settle()
        return ForkGroup(self, [ProgramState(child) for child in self._executor.fork(size, caller())])

    @contextmanager
    def copy(self, position_ids_offset: None = None) -> Iterator[ProgramState]:
        """Yields one fork, joined at the end: its names are kept here, its text is not. `with s.copy() as trial: ...`"""
        group = self.fork(1, position_ids_offset)
        with group:
            yield group[0]

    def __setitem__(self, name: str, value: Any) -> None:
        self.set_var(name, value)

    def set_var(self, name: str, value: Any) -> None:
        """Sets a variable to a value of the program's own."""
        self._executor.set_var(name, value)

    @contextmanager
    def _within(self, begin: ProgramNode, end: ProgramNode) -> Iterator[ProgramState]:
        self += begin
        yield self
        self += end

    def _settle(self) -> None:
        """Appends a message such as `s.user("...")` that no `s +=` appended, before anything else happens."""
        unused, self._unused = self._unused, None
        if unused is not None:
            self += unused

    # -- reading ------------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        return self._slots(name)[-1].result()

    def get_var(self, name: str) -> Any:
        """Returns `s[name]`: waits for the text, and raises its error. Raises UnknownVariable for a name that is never made."""
        return self[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Returns `s[name]`, or `default` if nothing has made that name so far."""
        return self[name] if name in self else default  # noqa: SIM401

    def __contains__(self, name: str) -> bool:
        self._settle()
        return name in self._executor.slots

    def history(self, name: str) -> list[Any]:
        """Returns every value that the name has had, in order; `s[name]` is the last. Waits and raises as `get_var` does."""
        return [slot.result() for slot in self._slots(name)]

    def get_meta_info(self, name: str) -> Any:
        """Returns facts about a generation: `id`, `prompt_tokens`, `cached_tokens`, `computed_tokens`, `completion_tokens`,
        `finish_reason`, log-probabilities if asked for. A selection has `choices`, `scores` and `choice_token_logprobs`.

        With `n` samples a list with one each. Waits and raises as `get_var` does.
        """
        slot = self._slots(name)[-1]
        slot.result()
        return slot.meta_info

    def sync(self) -> None:
        """Waits until all that was appended is done. Raises the first error of this state."""
        self._settle()
        self._executor.sync()
        if self._executor.error is not None:
            raise self._executor.error

    def text(self) -> str:
        """Returns the whole prompt as the model reads it. Waits and raises as `sync` does."""
        self.sync()
        return self._executor.run.backend.text_of(self._executor.text.prompt(self._executor.text.tools))

    def messages(self) -> list[dict[str, Any]]:
        """Returns the conversation: dicts with `role` and `content`. Waits and raises as `sync` does."""
        self.sync()
        return self._executor.text.prompt().messages

    def text_iter(self, var_name: str | None = None) -> Iterator[str]:
        """Yields new text as it comes, of the whole prompt or of one variable; joined, the pieces are the text.

        Raises the error of the state after the pieces that came before it. An interrupt aborts the run.
        """
        try:
            yield from self._flow(var_name)
        except (KeyboardInterrupt, SystemExit):
            self._executor.run.abort()
            raise

    @overload
    def text_async_iter(self, var_name: str | None = None, return_meta_data: Literal[False] = False) -> AsyncIterator[str]: ...
    @overload
    def text_async_iter(self, var_name: str, return_meta_data: Literal[True]) -> AsyncIterator[tuple[str, Metas]]: ...
    async def text_async_iter(self, var_name: str | None = None, return_meta_data: bool = False) -> AsyncIterator[Any]:
        """Yields what `text_iter` yields, in an event loop. With `return_meta_data` it yields pairs of a variable's new text and
        its meta information, which is empty until the generation has ended. Raises what `text_iter` raises."""
        if return_meta_data and var_name is None:
            raise InvalidRequest.because(
                "return_meta_data", "return_meta_data needs a variable", hint="text_async_iter(var_name, return_meta_data=True)"
            )
        pieces = self._pieces(var_name)
        if not return_meta_data:
            async for piece in pieces:
                yield piece
            return
        slot = (await asyncio.to_thread(self._slots, str(var_name)))[-1]
        async for piece in pieces:
            yield piece, slot.meta_info
        yield "", slot.meta_info

    async def _pieces(self, var_name: str | None) -> AsyncIterator[str]:
        flow = await asyncio.to_thread(self._flow, var_name)  # waits for the program to create the name
        if isinstance(flow, list):
            for piece in flow:
                yield piece
            return
        try:
            async for piece in flow:
                yield piece
        except asyncio.CancelledError:
            self._executor.run.abort()
            raise

    @property
    def ret_value(self) -> Any:
        """The value that the program's function returned. Waits for its end."""
        run = self._executor.run
        if run.is_followed:
            run.body_done.wait()
        return self._ret_value

    def error(self) -> BaseException | None:
        """Returns the run's error, or None. Waits for its end."""
        run = self._executor.run
        if run.is_followed:
            run.body_done.wait()
        self._executor.sync()
        return run.failure or run.error

    @property
    def calls(self) -> list[Call]:
        """All generations and selections of the run, forks included, with their cached and computed tokens."""
        return calls_of(self._executor.run.answers)

    # -- afterwards ---------------------------------------------------------------------------------------------

    def show(self) -> ProgramView:
        """Returns the run as a tree of its text and the requests that wrote it: HTML in a notebook, text in a terminal."""
        from workbench.views.program.picture import ProgramView

        run = self._executor.run
        return ProgramView.of(run.events, run.backend.log.read()[1])

    def rerun(self, edit: Edit) -> ProgramState:
        """Runs the same program again, with another text for some of its generations, and returns its state.

        Generations before an edit keep their text and send no request; those after it are generated again, on the prefixes
        that the cache still holds. `edit={"plan": "new text"}`, or `("plan", 2)` for the third of that name.
        Raises InvalidRequest for an edit that is no dict of texts, UnknownVariable for a name that was not made.
        """
        if self._rerun is None:
            raise ProgramMistake("rerun was called on a branch of a fork", hint="call it on the state that run() returned")
        answers = self._executor.run.answers
        if not isinstance(edit, Mapping) or not all(isinstance(text, str) for text in edit.values()):
            raise InvalidRequest("edit", edit, "a dict from names to texts", hint='for example edit={"plan": "new text"}')
        return self._rerun(Replay(answers, {find_answer(answers, name): value for name, value in edit.items()}))

    def __str__(self) -> str:
        """Returns the whole text, for which it waits; `repr` waits for nothing."""
        return f"ProgramState({self.text()})"

    def __repr__(self) -> str:
        run = self._executor.run
        return f"<state of {run.name}: {', '.join(self._executor.slots) or 'no variables'}>"

    def _slots(self, name: str) -> list[Slot]:
        self._settle()
        executor = self._executor
        executor.wait_for_name(name)
        if name in executor.slots:
            return executor.slots[name]
        if executor.run.failure is not None:
            raise executor.run.failure
        raise placed(unknown_name(name, executor.slots), executor.run.name, caller())

    def _flow(self, var_name: str | None) -> Flow | list[str]:
        if var_name is not None:
            return self._slots(var_name)[-1].flow
        return self._executor.text.flow if self._executor.run.is_streamed else [self.text()]


class ForkGroup(Sequence[ProgramState]):
    """The children of a fork. As a context manager it joins them at the end."""

    def __init__(self, parent: ProgramState, states: list[ProgramState]) -> None:
        self._parent = parent
        self._states = states

    @overload
    def __getitem__(self, index: int) -> ProgramState: ...
    @overload
    def __getitem__(self, index: slice) -> list[ProgramState]: ...
    def __getitem__(self, index: int | slice) -> ProgramState | list[ProgramState]:
        return self._states[index]

    def __setitem__(self, index: int, state: ProgramState) -> None:
        """Accepts the end of `forks[i] += ...`, which assigns the state that it appended to."""
        if state is not self._states[index]:
            raise ProgramMistake(f"forks[{index}] = ... replaces no state", hint=f"forks[{index}] += ... appends to it")

    def __len__(self) -> int:
        return len(self._states)

    def __iadd__(self, expr: Expr | Sequence[Expr] | Callable[[int], Expr]) -> ForkGroup:
        """Appends to every child: the same expression, one of a list, or the result of a function of the child's index."""
        if isinstance(expr, list | tuple):
            parts: Sequence[Expr] = expr
        elif isinstance(expr, ProgramNode | str):
            parts = [expr] * len(self)
        elif callable(expr):
            parts = [expr(i) for i in range(len(self))]
        else:
            raise InvalidRequest("what is appended to a fork", expr, "text, a part of the language, a list, or a function")
        if len(parts) != len(self):
            raise InvalidRequest("what is appended to a fork", f"{len(parts)} parts", f"one, or {len(self)}: one per child")
        for state, part in zip(self._states, parts, strict=True):
            state += part
        return self

    def join(self, mode: JoinMode = "gather_variable") -> None:
        """Joins the children to the parent. Each name that they made becomes a list there; with `concate_and_append` their
        texts follow the parent's. Raises InvalidRequest for another mode."""
        if mode not in ("gather_variable", "concate_and_append"):
            raise InvalidRequest("mode", mode, "'gather_variable' or 'concate_and_append'")
        for state in (self._parent, *self._states):
            state._settle()
        self._parent._executor.join([state._executor for state in self._states], mode, caller())

    def __enter__(self) -> ForkGroup:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.join()
