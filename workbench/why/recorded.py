"""What the event log knows of one constrained request: its constraint and the tokens it has produced."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.errors import InvalidRequest
from workbench.events import EventLog, RequestArrived, TokenSampled
from workbench.types import GrammarSpec


@dataclass(frozen=True)
class Constrained:
    spec: GrammarSpec
    output_ids: tuple[int, ...]


def constrained(log: EventLog, rid: str) -> Constrained:
    """Reads only. Raises InvalidRequest where the log holds nothing of the request (any more), or it has no constraint."""
    spec: GrammarSpec | None = None
    output: list[int] = []
    found = False
    for event in log.read()[1]:
        match event:
            case RequestArrived(rid=r, grammar=grammar) if r == rid:
                spec, output, found = grammar, [], True
            case TokenSampled(rid=r, token_id=token, position=position) if r == rid:
                output[position:] = [token]
    if not found:
        hint = "it never existed, was too long ago, or recording is off"
        raise InvalidRequest("rid", rid, "a request whose events are in the log", hint=hint)
    if spec is None:
        raise InvalidRequest("rid", rid, "a request with a constraint", hint="without one every token is allowed")
    return Constrained(spec, tuple(output))
