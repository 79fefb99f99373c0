"""`Executor`: does the nodes of one state in their order.

Appending never waits, reading does. A node that fails ends the state: the nodes behind it and all readers fail with the same
error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.errors import Aborted, BackendLacks, InvalidRequest, NotSupported
from workbench.events import PartFinished, PartReached
from workbench.lang.backend_calls import call_backend, warm
from workbench.lang.describe import counts, describe, finish_words, logprob_pairs, option_scores
from workbench.lang.growing_text import Slot
from workbench.lang.lookahead import Ahead
from workbench.lang.node_queue import NodeQueue
from workbench.lang.nodes import (
    Fork,
    Gen,
    Image,
    Join,
    ProgramNode,
    RoleBegin,
    RoleEnd,
    Select,
    Text,
    Value,
    VarBegin,
    VarEnd,
    Video,
)
from workbench.lang.prompt import Part
from workbench.lang.run_state import Generated, RunState
from workbench.lang.source_line import SourceLine, placed
from workbench.lang.state_text import StateText
from workbench.lang.tools import tools_text

QUICK = (Text, Image, Video, RoleBegin, RoleEnd, VarBegin, VarEnd)
"""Nodes without a request: done at once, on the program's own thread, when nothing is queued before them."""


@dataclass
class QueuedNode:
    """A node in a state's queue, with the values that it sets and the states that it starts or joins."""

    node: ProgramNode
    place: SourceLine
    slots: list[Slot] = field(default_factory=list)
    """Values that this step, or the scope that it ends, sets."""
    children: list[Executor] = field(default_factory=list)
    gathered: list[list[Slot]] = field(default_factory=list)
    """For a join: the children's values for each of `slots`."""


class Executor:
    """One state: its prompt so far, its variables, and its queue."""

    def __init__(self, run: RunState, branch: tuple[int, ...] = (), slots: Mapping[str, list[Slot]] | None = None) -> None:
        self.run = run
        self.branch = branch
        self.text = StateText(run)
        self.slots: dict[str, list[Slot]] = {name: list(values) for name, values in (slots or {}).items()}
        self.error: BaseException | None = None
        self._open_scopes: list[tuple[str, Slot]] = []
        """Scopes that the program has opened; the queue may be behind it."""
        self._num_forks = 0
        self._num_answers = 0
        self._call = call_backend if run.num_ahead is None else Ahead(run.num_ahead)
        self._queue = NodeQueue(f"workbench-{run.name}", self._work, self._lacks_thread, is_held=bool(branch))
        self._changed = self._queue.changed
        run.executors.append(self)

    # -- the program's side -------------------------------------------------------------------------------------

    def submit(self, node: ProgramNode, place: SourceLine) -> None:
        """Queues a node without waiting. Raises InvalidRequest for the end of a scope that is not the innermost one."""
        step = QueuedNode(node, place)
        match node:
            case Gen(name=str(name)) | Select(name=str(name)):
                step.slots.append(self._new_slot(name))
            case VarBegin(name):
                self._open_scopes.append((name, self._new_slot(name)))
            case VarEnd(name):
                if not self._open_scopes or self._open_scopes[-1][0] != name:
                    raise InvalidRequest("the end of a scope", name, "that of the scope opened last")
                step.slots.append(self._open_scopes.pop()[1])
        self._enqueue(step)

    def set_var(self, name: str, value: Any) -> None:
        """Gives a name a value of the program's own; a reader that waits for the name wakes."""
        self._new_slot(name).set(value, {})

    def fork(self, num: int, place: SourceLine) -> list[Executor]:
        """Returns `num` states that continue from here; they begin once this state has reached the fork."""
        step = QueuedNode(Fork(num), place)
        step.children = [Executor(self.run, (*self.branch, self._num_forks, i), self.slots) for i in range(num)]
        self._num_forks += 1
        self._enqueue(step)
        return step.children

    def join(self, children: list[Executor], mode: str, place: SourceLine) -> None:
        """Takes over the children's variables, or their texts. Later reads and text wait for the children."""
        step = QueuedNode(Join(mode), place, children=children)  # type: ignore[arg-type]
        if mode == "gather_variable":
            names = dict.fromkeys(name for child in children for name in child.slots)
            for name in names:
                made = [child.slots[name][-1] for child in children if child.has_made(name, self.slots.get(name, []))]
                if made:
                    step.slots.append(self._new_slot(name))
                    step.gathered.append(made)
        self._enqueue(step)

    def wait_for_name(self, name: str) -> None:
        """Waits while the program's function still runs on another thread and may yet make `name`."""
        with self._changed:
            self._changed.wait_for(lambda: name in self.slots or self.run.body_done.is_set() or not self.run.is_followed)

    def end(self, error: BaseException | None) -> None:
        """Ends the text and wakes readers: the program's function has returned, or failed with `error`."""
        self.text.flow.close(error)
        with self._changed:
            self._changed.notify_all()

    def has_made(self, name: str, inherited: list[Slot]) -> bool:
        """Returns whether this state has set `name` itself."""
        return len(self.slots.get(name, [])) > 0 and self.slots[name][-1] not in inherited

    def sync(self) -> None:
        """Waits until the queue is empty, or the run was aborted."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue.is_idle or self.run.is_aborted)

    def abandon(self, error: BaseException) -> None:
        """Ends the state: waiting readers get `error`."""
        with self._changed:
            if not self._queue.is_idle:
                self.error = self.error or error
            self._changed.notify_all()
        for slots in list(self.slots.values()):
            for slot in slots:
                slot.fail(error)
        self.text.flow.close(error)

    def _new_slot(self, name: str) -> Slot:
        slot = Slot()
        with self._changed:
            self.slots.setdefault(name, []).append(slot)
            self._changed.notify_all()
        return slot

    def _enqueue(self, step: QueuedNode) -> None:
        self._queue.put(step, is_quick=isinstance(step.node, QUICK))

    # -- the queue's side ---------------------------------------------------------------------------------------

    def release(self, parts: tuple[Part, ...], error: BaseException | None) -> None:
        """Starts this child of a fork with its parent's parts, or with its failure."""
        with self._changed:
            self.text.inherit(parts)
            self.error = self.error or error
            self._queue.release()

    def _lacks_thread(self, error: RuntimeError) -> None:
        message = f"program {self.run.name} has {len(self.run.executors)} states, and no thread is left ({error})"
        self.error = self.error or NotSupported(message, hint="fork into fewer states at once")

    def _work(self, step: QueuedNode) -> None:
        caught: BaseException | None = None
        if self.error is None and self.run.is_aborted:
            self.error = Aborted(f"program {self.run.name} was aborted")
        if self.error is None:
            try:
                self._do(step)
                return
            except BaseException as error:  # readers raise it in their own threads
                caught = error
                reason = error if isinstance(error, Exception) else Aborted(f"program {self.run.name} was interrupted")
                self.error = self.error or placed(reason, self.run.name, step.place)
        for slot in step.slots:
            slot.fail(self.error)
        for child in step.children if isinstance(step.node, Fork) else ():
            child.release((), self.error)
        self.text.flow.close(self.error)
        if isinstance(caught, KeyboardInterrupt):  # on the program's own thread, so it ends the run
            raise caught

    def _do(self, step: QueuedNode) -> None:
        node, number = step.node, self._reached(step)
        match node:
            case Text():
                self.text.append(node)
            case Image() | Video():
                if (kind := type(node).__name__.lower()) not in self.run.backend.features:
                    raise BackendLacks(self.run.backend.name, kind)
                self.text.append(node)
            case RoleBegin():
                self.text.begin_role(node, step.place)
            case RoleEnd():
                self.text.end_role(node)
            case VarBegin():
                self.text.begin_scope()
            case VarEnd():
                text = self.text.end_scope()
                step.slots[0].flow.put(text)
                step.slots[0].set(text, {})
            case Gen() | Select():
                self._answer(node, number, step)
            case Fork(num):
                if num > 1 and self.text.parts:
                    warm(self.run.backend, self.text.prompt())
                for child in step.children:
                    child.release(self.text.parts, None)
            case Join():
                self._join(node, step)

    def _reached(self, step: QueuedNode) -> int:
        node = step.node
        if isinstance(node, Gen) and node.tools:
            self._record_part(step, self.run.next_part(), kind="tools", detail=tools_text(node.tools))
        number = self.run.next_part()
        name = getattr(node, "name", None) or getattr(node, "role", None) or ""
        text = node.value if isinstance(node, Text) else ""
        self._record_part(step, number, kind=type(node).__name__.lower(), name=name, text=text, detail=describe(node))
        return number

    def _record_part(self, step: QueuedNode, number: int, *, kind: str, name: str = "", text: str = "", detail: str = "") -> None:
        self.run.record(
            PartReached, part=number, branch=self.branch, kind=kind, name=name, text=text, detail=detail, place=str(step.place)
        )

    # -- calling the backend ------------------------------------------------------------------------------------

    def _answer(self, node: Gen | Select, number: int, step: QueuedNode) -> None:
        """Answers a generation or selection: from an earlier run if it is replayed, else by the backend."""
        self.text.tools = node.tools if isinstance(node, Gen) else ()
        run, prompt = self.run, self.text.prompt(self.text.tools)
        key = (self.branch, self._num_answers)
        self._num_answers += 1
        written: list[str] = []

        def write(piece: str) -> None:
            written.append(piece)
            for slot in step.slots:
                slot.flow.put(piece)
            self.text.show(piece)

        found = run.replay.find(key, node, prompt)
        try:
            if found is not None:
                write(_first(found[0]))
            value, meta = found if found is not None else self._call(run, node, prompt, number, write)
        finally:
            self.text.append(Text("".join(written)), is_shown=True)  # after a failure, the text before it
        run.answers[key] = Generated(node, prompt, value, meta, is_replayed=found is not None)
        for slot in step.slots:
            slot.set(value, meta)
        first, (num_prompt, num_cached, _, num_output) = meta[0] if isinstance(meta, list) else meta, counts(meta)
        num_requests = len(meta) if isinstance(meta, list) else first.get("num_requests", 1)
        run.record(
            PartFinished, part=number, text=_first(value), num_prompt=num_prompt, num_cached=num_cached, num_output=num_output,
            num_requests=num_requests, samples=() if isinstance(value, str) else tuple(value[1:]),
            finish="edited" if key in run.replay.edits else finish_words(first),
            scores=option_scores(first), logprobs=logprob_pairs(first), replayed=found is not None,
        )  # fmt: skip

    def _join(self, node: Join, step: QueuedNode) -> None:
        for child in step.children:
            child.sync()
            if child.error is not None:
                raise child.error
        if node.mode == "concate_and_append":
            for child in step.children:
                self.text.append_own(child.text)
        for slot, made in zip(step.slots, step.gathered, strict=True):
            slot.set([each.result() for each in made], [each.meta_info for each in made])


def _first(value: Value) -> str:
    return value if isinstance(value, str) else value[0]
