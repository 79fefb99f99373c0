"""`within_budget`: the most tokens of reasoning. Beyond them the end mark is written for the model, which then answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from msgspec import structs

from workbench.tool_calls.reasoning import ReasoningParser
from workbench.types import TokenOut

Outputs = AsyncIterator[tuple[int, TokenOut]]
Resume = Callable[[list[int]], Awaitable[Outputs]]


async def within_budget(outputs: Outputs, parser: ReasoningParser, budget: int, end: TokenOut, resume: Resume) -> Outputs:
    """Yields the outputs of one request while its reasoning has at most `budget` tokens, and aborts it otherwise.

    Then `end` closes the reasoning, and the outputs that `resume` begins behind all tokens so far follow.
    """
    output_ids: list[int] = []
    async with aclosing(outputs):  # type: ignore[type-var]
        async for i, out in outputs:
            yield i, out
            output_ids += out.token_ids
            parser.push(out.text)
            if parser.is_inside and len(output_ids) >= budget and out.finish is None:
                break
        else:
            return
    yield i, structs.replace(end, num_cached=out.num_cached)
    async with aclosing(await resume([*output_ids, *end.token_ids])) as rest:  # type: ignore[type-var]
        async for i, more in rest:
            yield i, structs.replace(more, num_cached=out.num_cached)
