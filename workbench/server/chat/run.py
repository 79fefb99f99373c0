"""Runs a conversation on the engine: from a `ChatCall` to its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from workbench.errors import InvalidRequest, PromptTooLong
from workbench.native.requests import GenerateRequest
from workbench.native.results import Completion
from workbench.server.chat.call import ChatCall, Usage
from workbench.server.chat.events import ChatEvent
from workbench.server.chat.messages import for_template
from workbench.server.chat.reader import ChoiceReader
from workbench.server.chat.tools import SPECIAL, ToolPlan, functions_of, plan_tools
from workbench.server.serving import Serving
from workbench.types import GRAMMAR_FIELDS

NUM_SAMPLES = 128
"""Most choices of a call."""


class ChatRun:
    """A call that runs. Iterate over it once for its events; `usage` counts as they come."""

    def __init__(self, chunks: AsyncIterator[Completion], readers: list[ChoiceReader], usage: Usage) -> None:
        self.usage = usage
        self._chunks = chunks
        self._readers = readers

    async def __aiter__(self) -> AsyncIterator[ChatEvent]:
        counts = [0] * len(self._readers)
        async with aclosing(self._chunks) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                i, meta = chunk.get("index", 0), chunk["meta_info"]
                counts[i] = meta["completion_tokens"]
                usage = self.usage
                usage.prompt_tokens, usage.completion_tokens = meta["prompt_tokens"], sum(counts)
                usage.cached_tokens = max(usage.cached_tokens, meta["cached_tokens"])
                for event in self._readers[i].read(chunk):
                    yield event
                usage.reasoning_tokens = sum(reader.num_reasoning_tokens for reader in self._readers)


async def start_chat(serving: Serving, call: ChatCall) -> ChatRun:
    """Queues a conversation. Raises before the first event what can be refused: InvalidRequest, PromptTooLong, NotSupported."""
    if not 1 <= call.n <= NUM_SAMPLES:
        raise InvalidRequest("n", call.n, f"between 1 and {NUM_SAMPLES}")
    handle = serving.handle
    plan = plan_tools(call, serving.args.tool_call_parser, str(handle.hf_tokenizer.chat_template or ""))
    ids = await asyncio.to_thread(prompt_ids, serving, call)
    request = GenerateRequest.make(None, list(ids), _sampling(serving, call, plan, len(ids)), _options(call), stream=True)
    parser = serving.args.reasoning_parser if call.separate_reasoning else None
    name = await asyncio.to_thread(serving.token_names) if call.logprobs else None
    starts_inside = None if parser is None else _ends_inside(serving, ids)
    readers = [ChoiceReader(i, plan, parser, starts_inside, name) for i in range(call.n)]
    try:
        chunks = await serving.start_stream(request)
    except PromptTooLong as error:
        error.field = "messages"  # the engine saw a prompt
        raise
    return ChatRun(chunks, readers, Usage(prompt_tokens=len(ids)))


def prompt_ids(serving: Serving, call: ChatCall) -> tuple[int, ...]:
    """Returns the token ids of a conversation in the chat template. Raises InvalidRequest, NotSupported."""
    messages = for_template(call.messages)
    is_open = call.continue_final_message
    if is_open and messages[-1]["role"] != "assistant":
        raise InvalidRequest.because(
            "continue_final_message", "the last message is not of the assistant", hint="give the assistant's beginning last"
        )
    tools = [{"type": "function", "function": function} for function in functions_of(call.tools)]
    shown = tools if tools and call.tool_choice != "none" else None
    more: dict[str, Any] = {**call.template_args}
    if is_open:
        more |= {"continue_final_message": True, "add_generation_prompt": False}
    return serving.handle.tokenizer.chat_ids(messages, tools=shown, **more)


def _sampling(serving: Serving, call: ChatCall, plan: ToolPlan, num_prompt: int) -> dict[str, Any]:
    params: dict[str, Any] = {name: value for name, value in call.sampling.items() if value is not None}
    params["n"] = call.n
    if plan.structural_tag is not None:
        given = [name for name in GRAMMAR_FIELDS if params.get(name)]
        if given:
            raise InvalidRequest.because(
                given[0], f"{given[0]} stands beside a tool_choice or strict tools, which constrain the text too", hint="keep one"
            )
        params["structural_tag"] = plan.structural_tag
    if plan.parser in SPECIAL:
        params.setdefault("skip_special_tokens", False)
    if params.get("max_new_tokens") is None:
        info = serving.handle.info
        limit = min(info.context_length, info.max_total_num_tokens)
        if num_prompt >= limit:
            raise PromptTooLong("messages", f"{num_prompt} tokens", f"below {limit} tokens")
        params["max_new_tokens"] = limit - num_prompt
    return params


def _options(call: ChatCall) -> dict[str, Any]:
    options = {name: value for name, value in call.options.items() if value is not None}
    if call.logprobs:
        options |= {"return_logprob": True, "top_logprobs_num": call.top_logprobs}
    return options


def _ends_inside(serving: Serving, ids: tuple[int, ...]) -> bool | None:
    """Returns whether the prompt ends with the mark that begins reasoning; None if it does not show it."""
    tail = serving.handle.tokenizer.decode(ids[-8:], skip_special_tokens=False).rstrip()
    return True if tail.endswith(("<think>", "[THINK]")) else None
