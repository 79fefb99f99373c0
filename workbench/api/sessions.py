"""`Sessions`: the turns of conversations by token ids. A prompt may continue one of them.

A turn is a request: its prompt and its output. The prefix cache holds its K/V like that of any other request.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from workbench.checks import as_int
from workbench.client.stream import Stream
from workbench.errors import InvalidRequest, QueueFull
from workbench.native.requests import PromptBatch
from workbench.native.session import SessionParams
from workbench.types import Request

MOST_SESSIONS = 1024
MOST_TOKENS = 1 << 24
"""Most tokens that all sessions hold together; a turn counts at least `LEAST`."""
LEAST = 64


@dataclass(eq=False)
class Turn:
    """One request of a session."""

    request: Request
    stream: Stream
    parent: str | None
    """Request id of the turn that it continues."""
    output_ids: list[int] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        """True until its last output is read, or its reader has left."""
        return not self.stream.is_finished

    @property
    def cost(self) -> int:
        """Most tokens that it will hold."""
        return max(len(self.request.input_ids) + self.request.params.max_new_tokens, LEAST)

    def tokens(self, offset: int | None) -> tuple[int, ...]:
        """Returns its prompt and its output, cut to `[:offset]`."""
        whole = (*self.request.input_ids, *self.output_ids)
        return whole[:offset] if offset else whole


class Sessions:
    """The sessions of one engine. Any thread may use them."""

    def __init__(self) -> None:
        self._turns: dict[str, dict[str, Turn]] = {}
        """By session and request id."""
        self._num_tokens = 0
        self._lock = threading.Lock()

    def open(self, capacity_of_str_len: int = 0, session_id: str | None = None) -> str:
        """Opens a session and returns its id, by default a random one.

        `capacity_of_str_len` is the number of characters that it is expected to hold; it limits nothing. Raises InvalidRequest
        for an id that is in use, QueueFull.
        """
        if as_int("capacity_of_str_len", capacity_of_str_len) < 0:
            raise InvalidRequest("capacity_of_str_len", capacity_of_str_len, "at least 0")
        name = session_id or uuid.uuid4().hex
        with self._lock:
            if name in self._turns:
                raise InvalidRequest("session_id", name, "an id that is not in use")
            if len(self._turns) >= MOST_SESSIONS:
                raise QueueFull(f"{MOST_SESSIONS} sessions are open", hint="close those that are not needed")
            self._turns[name] = {}
        return name

    def close(self, session_id: str) -> None:
        """Drops a session; its running requests go on. Raises InvalidRequest for one that is not open."""
        with self._lock:
            self._num_tokens -= sum(turn.cost for turn in self._of("session_id", session_id).values())
            del self._turns[session_id]

    def prompt(self, params: SessionParams, rid: str, ids: tuple[int, ...], bos_id: int | None) -> tuple[int, ...]:
        """Returns the tokens of a prompt behind those of the turn that it continues. Changes nothing.

        Raises InvalidRequest for a session that is not open, and a turn that is unknown, running or there already.
        """
        with self._lock:
            turns = self._of("session_params.id", params.id)
            if rid in turns:
                raise InvalidRequest("rid", rid, "an id that no turn of the session has")
            if self._num_tokens > MOST_TOKENS:
                raise QueueFull(f"the sessions hold {self._num_tokens:,} tokens", hint="close those that are not needed")
            if params.rid is None:
                return ids
            if (turn := turns.get(params.rid)) is None:
                raise InvalidRequest("session_params.rid", params.rid, "the request id of a turn of the session")
            if turn.is_running and not params.replace:
                raise InvalidRequest("session_params.rid", params.rid, "a turn that has ended", hint="wait for it, or replace it")
            context = turn.tokens(params.offset)
        return context + (ids[1:] if context and ids[:1] == (bos_id,) else ids)

    def begin(self, batch: PromptBatch, streams: Sequence[Stream]) -> tuple[list[Turn | None], list[str]]:
        """Records the requests of a call, which are queued. Returns one turn for each (None outside of sessions), and the ids of
        running requests whose turns are replaced."""
        turns: list[Turn | None] = []
        replaced: list[str] = []
        for params, request, stream in zip(batch.sessions, batch.requests, streams, strict=True):
            turn = None if params is None else Turn(request, stream, params.rid)
            if params is not None and turn is not None:
                replaced += self._add(params, turn)
            turns.append(turn)
        return turns, replaced

    def _add(self, params: SessionParams, turn: Turn) -> list[str]:
        with self._lock:
            turns = self._turns.get(params.id)
            if turns is None:  # closed since the prompt was made
                return []
            replaced = [turns.pop(rid) for rid in _below(turns, params.rid)] if params.replace else []
            self._num_tokens += turn.cost - sum(one.cost for one in replaced)
            if params.replace and params.rid in turns:  # it stays, and ends where it is
                replaced.append(turns[params.rid])
            turns[turn.request.rid] = turn
            return [one.request.rid for one in replaced if one.is_running]

    def _of(self, field: str, session_id: str) -> dict[str, Turn]:
        if session_id not in self._turns:
            raise InvalidRequest(field, session_id, "the id of an open session", hint="open_session returns one")
        return self._turns[session_id]


def _below(turns: dict[str, Turn], rid: str | None) -> list[str]:
    """Returns the turns that continue one, and those that continue them; of None, all turns."""
    found: set[str | None] = {rid}
    for name, turn in turns.items():  # a turn comes after the one that it continues
        if turn.parent in found or rid is None:
            found.add(name)
    return [name for name in turns if name in found and name != rid]
