"""A constrained request as the event log holds it: its constraint and the tokens that it has produced."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.errors import InvalidRequest
from workbench.events import EventLog, RequestArrived, TokenSampled
from workbench.types import GrammarSpec
from workbench.why.request.explanation import request_events


@dataclass(frozen=True)
class LoggedRequest:
    """A request with a constraint, and its output so far."""

    spec: GrammarSpec
    output_ids: tuple[int, ...]


def logged_request(log: EventLog, rid: str) -> LoggedRequest:
    """Returns the newest request of this id. Reads only.

    Raises InvalidRequest if the log holds nothing of it, or no longer, and if it has no constraint.
    """
    arrived, *later = request_events(log, rid)
    assert isinstance(arrived, RequestArrived)
    if arrived.grammar is None:
        raise InvalidRequest("rid", rid, "a request with a constraint", hint="without one every token is allowed")
    output: list[int] = []
    for event in later:
        if isinstance(event, TokenSampled):
            output[event.position :] = [event.token_id]  # a retracted request computes its output again
    return LoggedRequest(arrived.grammar, tuple(output))
