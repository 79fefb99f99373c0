"""Several generations of a program in one call of an API: `@function(num_api_spec_tokens=64)`.

The first generation requests `num_api_spec_tokens` tokens without a stop string. If the program's own text is the same as the
model's, the next generation takes its value from the text that exists, and nothing is sent. If they differ, the next generation
calls the API again. An API that cannot continue an open message writes the whole message, until one begins as the program's
does.

A generation with more than stop strings (a length limit, a constraint, samples, log-probabilities, tools) is a call of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbench.errors import BackendFailed
from workbench.lang.backend_calls import Write, call_backend
from workbench.lang.nodes import Gen, Meta, Metas, RoleBegin, Select, Text, Value
from workbench.lang.prompt import Prompt
from workbench.lang.run_state import RunState
from workbench.text.stop import StopFinder
from workbench.types import GRAMMAR_FIELDS

MAX_TRIES = 3
"""Most calls for one message that begins as the program's does."""
ALONE = frozenset({*GRAMMAR_FIELDS, "n", "max_new_tokens"})
"""Parameters of generations that are calls of their own."""


@dataclass(frozen=True)
class Written:
    """The text that an API wrote in one call, after `prompt`."""

    prompt: Prompt
    params: Mapping[str, Any]
    text: str
    meta_info: Meta

    @property
    def is_message(self) -> bool:
        """True if the text is a whole message, so that nothing follows its end."""
        return bool(self.prompt.parts) and isinstance(self.prompt.parts[-1], RoleBegin)

    def after(self, prompt: Prompt) -> str | None:
        """Returns the rest of the text after `prompt`; None if the two differ."""
        num = len(self.prompt.parts)
        added = prompt.parts[num:]
        if prompt.parts[:num] != self.prompt.parts or not all(isinstance(part, Text) for part in added):
            return None
        begin = "".join(part.value for part in added if isinstance(part, Text))
        return self.text[len(begin) :] if self.text.startswith(begin) else None


class Ahead:
    """Answers the generations of one state, in the place of `call_backend`."""

    def __init__(self, num_tokens: int) -> None:
        self._num_tokens = num_tokens
        self._written: Written | None = None

    def __call__(self, run: RunState, node: Gen | Select, prompt: Prompt, number: int, write: Write) -> tuple[Value, Metas]:
        params = {**run.defaults, **node.params} if isinstance(node, Gen) else {}
        if isinstance(node, Select) or ALONE & params.keys() or node.dtype or prompt.tools or node.logprobs or run.logprobs:
            return call_backend(run, node, prompt, number, write)
        stops = params.pop("stop", ())
        written, meta = self._written, {"num_requests": 0}
        left = written.after(prompt) if written is not None and written.params == params else None
        if written is None or left is None or not (left or written.is_message):
            written, left = self._call(run, node, prompt, params, number)
            meta = dict(written.meta_info)
            self._written = written
        text, finish = _up_to(stops, left, written.meta_info.get("finish_reason"))
        write(text)
        return text, {**meta, "id": written.meta_info.get("id"), "model": run.backend.model, "finish_reason": finish}

    def _call(self, run: RunState, node: Gen, prompt: Prompt, params: Mapping[str, Any], number: int) -> tuple[Written, str]:
        """Returns the text that the API writes, and its rest after `prompt`."""
        begun = prompt
        if prompt.has_roles and "prefill" not in run.backend.features:
            begun = Prompt(prompt.parts[: 1 + max(i for i, part in enumerate(prompt.parts) if isinstance(part, RoleBegin))])
        more = replace(node, params={**params, "stop": (), "max_new_tokens": self._num_tokens})
        metas: list[Meta] = []
        for _ in range(MAX_TRIES):
            text, meta = call_backend(run, more, begun, number, lambda piece: None)
            assert isinstance(text, str)  # one sample
            assert not isinstance(meta, list)
            metas.append(meta)
            written = Written(begun, params, text, _summed(metas))
            left = written.after(prompt)
            if left is not None:
                return written, left
        begin = "".join(part.value for part in prompt.parts[len(begun.parts) :] if isinstance(part, Text))
        raise BackendFailed(
            f"{run.backend.name} ({run.backend.model}) was to begin its message with {begin!r} and wrote {text!r}",
            hint="show the form in an earlier assistant message, or raise num_api_spec_tokens",
        )


def _up_to(stops: tuple[str, ...], text: str, finish: Any) -> tuple[str, Any]:
    """Returns the text before the first stop string, and its finish reason."""
    if not stops:
        return text, finish
    finder = StopFinder(stops)
    value = finder.push(text) + finder.finish()
    return (value, finish) if finder.matched is None else (value, {"type": "stop", "matched": finder.matched})


def _summed(metas: list[Meta]) -> Meta:
    """Returns the meta information of the last call, with the counts of all."""
    names = [name for name in ("prompt_tokens", "cached_tokens", "computed_tokens", "completion_tokens") if name in metas[-1]]
    return {**metas[-1], **{name: sum(meta.get(name, 0) for meta in metas) for name in names}, "num_requests": len(metas)}
