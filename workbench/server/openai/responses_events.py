"""`ResponseWriter`: the events of an answer of `/v1/responses`, and the object that they add up to."""

from __future__ import annotations

import uuid
from typing import Any

from workbench.server.chat import (
    ChatEvent,
    ChoiceFinished,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    Usage,
)
from workbench.server.problem import Problem

Json = dict[str, Any]
PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
TEXTS = {"message": "output_text", "reasoning": "reasoning_text"}
"""The type of the one part that an item of text has, by the item's type; its events have this name too."""


class ResponseWriter:
    """Writes one item at a time. Whole and streamed answers both come from here."""

    def __init__(self, head: Json) -> None:
        """Starts an answer whose fields, apart from those that come later, are `head`."""
        self.response: Json = {**head, "status": "in_progress", "output": []}
        self._sequence = 0
        self._kind = ""
        self._item: Json = {}
        self._text = ""
        self._scores: list[Json] = []
        self._waiting: list[Json] = []
        """Log-probabilities of tokens whose text has not come yet."""
        self._reason = ""

    def start(self) -> list[Json]:
        """Returns the first events."""
        return [
            self._event(kind, response={**self.response, "output": []}) for kind in ("response.created", "response.in_progress")
        ]

    def push(self, event: ChatEvent) -> list[Json]:
        """Returns what an event adds."""
        match event:
            case TextDelta():
                return self._write_text(event.text, event.logprobs or [])
            case ReasoningDelta(text=text):
                return [*self._open("reasoning", summary=[], content=[]), self._write(text)]
            case ToolCallStarted(id=call_id, name=name):
                return [*self.close(), *self._open("function_call", call_id=call_id, name=name, arguments="")]
            case ToolArgumentsDelta(text=text):
                return [self._write(text)]
            case ChoiceFinished(reason=reason):
                self._reason = reason
        return []

    def finish(self, usage: Usage) -> list[Json]:
        """Returns the last events; `response` is whole then."""
        is_cut = self._reason in ("length", "abort")
        first = [] if self.response["output"] or self._kind else self._open("message", role="assistant", content=[])
        closed = [*first, *self.close("incomplete" if is_cut else "completed")]
        self.response["usage"] = _usage(usage)
        if is_cut:
            self.response["incomplete_details"] = {
                "reason": "max_output_tokens" if self._reason == "length" else "content_filter"
            }
        self.response["status"] = "incomplete" if is_cut else "completed"
        return [*closed, self._event(f"response.{self.response['status']}", response=self.response)]

    def fail(self, problem: Problem) -> Json:
        """Returns the last event of an answer that failed."""
        error = {"code": "server_error", "message": problem.message}
        return self._event("response.failed", response={**self.response, "status": "failed", "error": error})

    def close(self, status: str = "completed") -> list[Json]:
        """Returns the end of the open item, if there is one."""
        if not self._kind:
            return []
        kind, item, text = self._kind, self._item, self._text
        self._kind, events = "", []
        if kind == "function_call":
            item["arguments"] = text
            events = [self._of_item("response.function_call_arguments.done", name=item["name"], arguments=text)]
        else:
            part = self._part(text)
            name, scores = TEXTS[kind], {"logprobs": _spare(self._scores)} if kind == "message" else {}
            item["content"] = [part]
            events = [
                self._of_item(f"response.{name}.done", content_index=0, text=text, **scores),
                self._of_item("response.content_part.done", content_index=0, part=part),
            ]
        item["status"] = status
        self.response["output"].append(item)
        index = len(self.response["output"]) - 1
        return [*events, self._event("response.output_item.done", output_index=index, item=item)]

    def _open(self, kind: str, **fields: Any) -> list[Json]:
        """Returns the beginning of an item, unless one of this kind is open."""
        if kind == self._kind:
            return []
        closed = self.close()
        self._kind, self._text, self._scores = kind, "", []
        self._item = {"type": kind, "id": f"{PREFIXES[kind]}_{uuid.uuid4().hex}", "status": "in_progress", **fields}
        index = len(self.response["output"])
        events = [*closed, self._event("response.output_item.added", output_index=index, item=dict(self._item))]
        if kind in TEXTS:
            events.append(self._of_item("response.content_part.added", content_index=0, part=self._part("")))
        return events

    def _write_text(self, text: str, scores: list[Json]) -> list[Json]:
        self._waiting += scores
        if not text:
            return []
        opened = self._open("message", role="assistant", content=[])
        scores, self._waiting = self._waiting, []
        self._scores += scores
        return [*opened, self._write(text, logprobs=_spare(scores))]

    def _write(self, text: str, **more: Any) -> Json:
        """Returns the next piece of the open item."""
        self._text += text
        if self._kind == "function_call":
            return self._of_item("response.function_call_arguments.delta", delta=text)
        return self._of_item(f"response.{TEXTS[self._kind]}.delta", content_index=0, delta=text, **more)

    def _part(self, text: str) -> Json:
        part: Json = {"type": TEXTS[self._item["type"]], "text": text}
        return part | ({"annotations": [], "logprobs": [*self._scores]} if part["type"] == "output_text" else {})

    def _of_item(self, kind: str, **fields: Any) -> Json:
        return self._event(kind, item_id=self._item["id"], output_index=len(self.response["output"]), **fields)

    def _event(self, kind: str, **fields: Any) -> Json:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event


def _spare(scores: list[Json]) -> list[Json]:
    """Returns log-probabilities as events have them: without bytes."""
    names = ("token", "logprob")
    return [
        {**{name: score[name] for name in names},
         "top_logprobs": [{name: top[name] for name in names} for top in score["top_logprobs"]]}
        for score in scores
    ]  # fmt: skip


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens, "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }  # fmt: skip
