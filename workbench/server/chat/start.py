"""`start_chat`: from a call to the events of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from workbench.api.handle import Handle
from workbench.errors import InvalidRequest
from workbench.native.media import media_options, read_shown
from workbench.native.prompts import Rendered
from workbench.native.requests import GenerateRequest, PromptBatch
from workbench.server.chat.budget import Outputs, within_budget
from workbench.server.chat.call import ChatCall
from workbench.server.chat.choice import Choice
from workbench.server.chat.constraint import constrained, response_fields
from workbench.server.chat.events import ChatEvent, Usage
from workbench.server.chat.prompt import render_chat
from workbench.server.chat.tokens import TokenTexts
from workbench.server.chat.tools import ToolChoice, choose
from workbench.server.problem import naming_prompt
from workbench.server.serving import Serving
from workbench.text.chat import source_of
from workbench.text.parts import Media
from workbench.tool_calls import FORMATS, ToolCallParser
from workbench.tool_calls.reasoning import REASONING_FORMATS, ReasoningFormat, ReasoningParser
from workbench.types import TokenOut


async def start_chat(serving: Serving, call: ChatCall) -> AsyncIterator[ChatEvent]:
    """Queues a call and returns the events of its answers. Raises before that what can be refused."""
    with serving.generation.underway.of([call.rid] if call.rid else []):
        prepared = await asyncio.to_thread(Prepared, serving, call)
        with naming_prompt(call.messages_field):
            running = await serving.submit(prepared.request)
    return _events(prepared, running.batch, prepared.limited(serving, serving.generation.outputs(running)))


def prompt_ids(serving: Serving, call: ChatCall) -> tuple[int, ...]:
    """Returns the token ids of a conversation as `start_chat` sends them, to count them."""
    handle = serving.handle
    tools = choose(call, serving.args.tool_call_parser, source_of(handle.tokenizer.hf, call.tools))
    return _ids_of(handle, *_text_of(handle, call, tools))


def _ids_of(handle: Handle, text: str, media: Sequence[Media]) -> tuple[int, ...]:
    """Returns the ids of a prompt with all tokens of its pictures."""
    if not media:
        return handle.tokenizer.encode(text, add_special_tokens=False)
    (shown,) = read_shown(**media_options(media), count=1, is_one=True)
    return handle.see(Rendered(text), shown).ids


def _text_of(handle: Handle, call: ChatCall, tools: ToolChoice | None) -> tuple[str, list[Media]]:
    """Returns the prompt as text, and its pictures. Raises InvalidRequest for one that UTF-8 cannot write."""
    text, media = render_chat(handle, call, tools.shown if tools else ())
    try:
        text.encode()
    except UnicodeEncodeError:
        message = f"{call.messages_field}: a text has half of a character (a lone surrogate)"
        raise InvalidRequest.because(call.messages_field, message, hint="send whole characters") from None
    return text, media


class Prepared:
    """A call with its prompt, its constraint and its parsers."""

    def __init__(self, serving: Serving, call: ChatCall) -> None:
        """Renders and tokenises the conversation: work for a thread."""
        tokenizer = serving.handle.tokenizer
        self._call = call
        self._tools = choose(call, serving.args.tool_call_parser, source_of(tokenizer.hf, call.tools))
        text, media = _text_of(serving.handle, call, self._tools)
        serving.check_length(text, call.messages_field)
        ids, self._media = _ids_of(serving.handle, text, media), media_options(media)
        name = serving.args.reasoning_parser
        self._reasoning = REASONING_FORMATS[name] if name else None
        self._is_inside = _starts_inside(self._reasoning, text)
        self._texts = TokenTexts(tokenizer) if call.logprobs else None
        self._encode = partial(tokenizer.encode, add_special_tokens=False)
        self._prompt_ids = list(ids)
        self._fields = self._sampling(serving, len(ids))
        self.request = self._request(call.rid or None, self._prompt_ids, self._params(self._reasoning))

    def _request(self, rid: str | None, input_ids: list[int], params: dict[str, Any]) -> GenerateRequest:
        call = self._call
        options = {"rid": rid, "return_logprob": call.logprobs, "top_logprobs_num": call.top_logprobs, **call.options}
        options |= self._media
        return GenerateRequest.make(None, input_ids, params, options)

    def limited(self, serving: Serving, outputs: Outputs) -> Outputs:
        """Returns the outputs with no more reasoning than the call's budget."""
        if self._call.reasoning_budget is None or self._reasoning is None:
            return outputs
        text = f"\n{self._reasoning.end}\n\n"
        end = TokenOut(rid="", text=text, token_ids=tuple(self._encode(text)))
        limit = int(self._fields["max_new_tokens"])
        budget = min(self._call.reasoning_budget, limit - len(end.token_ids) - 1)
        if budget < 1:  # there is no room for an answer
            return outputs

        async def resume(output_ids: list[int]) -> Outputs:
            params = self._params(None) | {"max_new_tokens": limit - len(output_ids)}
            running = await serving.submit(self._request(None, self._prompt_ids + output_ids, params))
            return serving.generation.outputs(running)

        return within_budget(outputs, ReasoningParser(self._reasoning.name, self._is_inside), budget, end, resume)

    def choices(self) -> list[Choice]:
        """Returns the `n` answers before their first output."""
        return [self._choice(i) for i in range(self._call.n)]

    def _choice(self, index: int) -> Choice:
        tools, reasoning = self._tools, self._reasoning
        return Choice(
            index,
            ReasoningParser(reasoning.name, self._is_inside) if reasoning and self._call.separate_reasoning else None,
            ToolCallParser(tools.parser, tools.names) if tools else None,
            self._texts.entry if self._texts else None,
            one_call=not self._call.parallel_tool_calls,
            only_calls=tools is not None and tools.is_forced,
        )

    def _params(self, reasoning: ReasoningFormat | None) -> dict[str, Any]:
        """Returns the sampling parameters with the constraint, behind reasoning where it may still come."""
        given = {**self._fields, **response_fields(self._call.response_format)}
        return constrained(given, self._tools, reasoning, self._is_inside)

    def _sampling(self, serving: Serving, num_prompt: int) -> dict[str, Any]:
        """Returns the sampling parameters without a constraint, with the room that the prompt leaves."""
        fields = {name: value for name, value in self._call.sampling.items() if value is not None} | {"n": self._call.n}
        if "max_tokens" not in fields:
            fields.setdefault("max_new_tokens", room_after(serving, num_prompt))
        if _has_special_marks(serving, self._tools, self._reasoning):
            fields.setdefault("skip_special_tokens", False)
        if stops := serving.handle.tokenizer.template_stops:
            fields["stop"] = [*_listed(fields.get("stop")), *stops]
        return fields


def room_after(serving: Serving, num_prompt: int) -> int:
    """Returns the number of tokens that an output may have behind a prompt, at least 1."""
    info = serving.handle.info
    return max(1, min(info.context_length, info.max_total_num_tokens) - num_prompt)


async def _events(prepared: Prepared, batch: PromptBatch, outputs: Outputs) -> AsyncIterator[ChatEvent]:
    choices, num_prompt = prepared.choices(), len(batch.requests[0].input_ids)
    async with aclosing(outputs):  # type: ignore[type-var]
        async for i, out in outputs:
            for event in choices[i].push(out):
                yield event
            yield Usage(
                num_prompt,
                sum(choice.num_tokens for choice in choices),
                choices[0].num_cached,
                sum(choice.num_reasoning for choice in choices),
            )


def _starts_inside(reasoning: ReasoningFormat | None, prompt: str) -> bool:
    """Returns whether the output begins within the reasoning: by the prompt's last mark, else by the format's habit."""
    if reasoning is None:
        return False
    end = prompt.rstrip()
    if end.endswith(reasoning.start):
        return True
    return reasoning.starts_inside and not end.endswith(reasoning.end)


def _has_special_marks(serving: Serving, tools: ToolChoice | None, reasoning: ReasoningFormat | None) -> bool:
    """Returns whether a mark that a parser reads is a special token, which is otherwise left out of the text."""
    tokenizer = serving.handle.tokenizer
    marks = [*(FORMATS[tools.parser].marks if tools else ()), *((reasoning.start, reasoning.end) if reasoning else ())]
    return any(tokenizer.backend.token_to_id(mark) in tokenizer.special_ids for mark in marks)


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())
