"""Shared by chats and completions: the fields that begin an answer, and `usage`."""

from __future__ import annotations

import time
import uuid
from typing import Any

from workbench.server.chat import Usage
from workbench.server.openai.bodies import SamplingBody, StreamOptions
from workbench.server.serving import Serving


class Head:
    """The fields with which every answer and every chunk begins. They are equal in all chunks of a stream."""

    def __init__(self, serving: Serving, body: SamplingBody, prefix: str) -> None:
        self.id = body.rid or f"{prefix}-{uuid.uuid4().hex}"
        """Id of the answer, and of its request in the engine."""
        self._created = int(time.time())
        self._model = serving.name_for(body.model)

    def of(self, kind: str) -> dict[str, Any]:
        """Returns the fields of an object of this kind."""
        return {"id": self.id, "object": kind, "created": self._created, "model": self._model}


def usage_json(prompt: int, completion: int, cached: int, reasoning: int = 0) -> dict[str, Any]:
    """Returns a `usage`. Its details are numbers, 0 included."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def usage_of(usage: Usage) -> dict[str, Any]:
    """Returns the `usage` of a chat."""
    return usage_json(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens)


def usage_so_far(options: StreamOptions, usage: dict[str, Any]) -> dict[str, Any]:
    """Returns the field `usage` of a chunk with choices: the tokens so far if they are wanted, null if only the last are."""
    if options.continuous_usage_stats:
        return {"usage": usage}
    return {"usage": None} if options.include_usage else {}
