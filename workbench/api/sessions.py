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
from workbench.types import Request, SeenPrompt

MOST_SESSIONS = 1024
MOST_TOKENS = 1 << 24
"""Most tokens that all sessions hold together; a turn counts at least `LEAST`."""
LEAST = 64
TOKEN_BYTES = 64
"""Memory of one token of a turn, about."""


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
        """Most tokens that it will hold; pictures count as many as are as large."""
        request = self.request
        num_bytes = sum(len(array.data) for picture in request.pictures for array in picture.arrays.values())
        return max(len(request.input_ids) + request.params.max_new_tokens, LEAST) + num_bytes // TOKEN_BYTES

    def whole(self, offset: int | None) -> SeenPrompt:
        """Returns its prompt and its output, cut to `[:offset]`. Raises InvalidRequest for a cut within a picture."""
        ids = (*self.request.input_ids, *self.output_ids)
        ids = ids[:offset] if offset else ids
        pictures = tuple(picture for picture in self.request.pictures if picture.start < len(ids))
        if pictures and pictures[-1].end > len(ids):
            message = f"session_params.offset {offset} is within a picture, tokens {pictures[-1].start} to {pictures[-1].end - 1}"
            raise InvalidRequest.because("session_params.offset", message, hint="cut before the picture or behind it")
        return SeenPrompt(ids, pictures)


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

    def context(self, params: SessionParams, rid: str) -> SeenPrompt:
        """Returns the turn that a prompt (its request id) continues; empty where it continues none. Changes nothing.

        Raises InvalidRequest for a session that is not open, a turn that is unknown, running or there already, and a cut within
        a picture.
        """
        with self._lock:
            turns = self._of("session_params.id", params.id)
            if rid in turns:
                raise InvalidRequest("rid", rid, "an id that no turn of the session has")
            if self._num_tokens > MOST_TOKENS:
                raise QueueFull(f"the sessions hold {self._num_tokens:,} tokens", hint="close those that are not needed")
            if params.rid is None:
                return SeenPrompt(())
            if (turn := turns.get(params.rid)) is None:
                raise InvalidRequest("session_params.rid", params.rid, "the request id of a turn of the session")
            if turn.is_running and not params.replace:
                raise InvalidRequest("session_params.rid", params.rid, "a turn that has ended", hint="wait for it, or replace it")
            return turn.whole(params.offset)

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


def without_begin(prompt: SeenPrompt, bos_id: int | None) -> SeenPrompt:
    """Returns a prompt without a begin token, which belongs in front of a conversation alone."""
    if prompt.ids[:1] != (bos_id,):
        return prompt
    return SeenPrompt(prompt.ids[1:], tuple(picture.moved(-1) for picture in prompt.pictures))


def _below(turns: dict[str, Turn], rid: str | None) -> list[str]:
    """Returns the turns that continue one, and those that continue them; of None, all turns."""
    found: set[str | None] = {rid}
    for name, turn in turns.items():  # a turn comes after the one that it continues
        if turn.parent in found or rid is None:
            found.add(name)
    return [name for name in turns if name in found and name != rid]
