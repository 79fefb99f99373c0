"""`ResponseStore`: the last answers of `/v1/responses`, so that a later one can continue them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from workbench.server.problem import Problem
from workbench.server.wire import to_json

MAX_RESPONSES = 1000
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer, the input that it answers, and the items of the conversation before that."""

    response: dict[str, Any]
    input: list[dict[str, Any]]
    before: list[dict[str, Any]]

    @property
    def items(self) -> list[dict[str, Any]]:
        """The items of the conversation that a next input continues."""
        return [*self.before, *self.input, *self.response["output"]]


class ResponseStore:
    """Holds answers in memory. The one that was used least lately makes room for a new one."""

    def __init__(self, max_responses: int = MAX_RESPONSES, max_bytes: int = MAX_BYTES) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._stored: OrderedDict[str, tuple[Stored, int]] = OrderedDict()

    def put(self, stored: Stored) -> None:
        """Adds an answer, unless it is larger than the whole store."""
        size = len(to_json(stored.items))
        if size > self._max_bytes:
            return
        self._stored[stored.response["id"]] = (stored, size)
        self._num_bytes += size
        while self._num_bytes > self._max_bytes or len(self._stored) > self._max_responses:
            _, (_, freed) = self._stored.popitem(last=False)
            self._num_bytes -= freed

    def get(self, response_id: str) -> Stored | None:
        """Returns an answer, None if it is not here (any more)."""
        if response_id not in self._stored:
            return None
        self._stored.move_to_end(response_id)
        return self._stored[response_id][0]

    def demand(self, response_id: str) -> Stored:
        """Returns an answer. Raises Problem 404."""
        if (stored := self.get(response_id)) is None:
            raise Problem(
                404, f"there is no response {response_id!r}: it was not stored, or later ones took its place", "response_id"
            )
        return stored

    def delete(self, response_id: str) -> None:
        """Drops an answer. Raises Problem 404."""
        self.demand(response_id)
        self._num_bytes -= self._stored.pop(response_id)[1]
