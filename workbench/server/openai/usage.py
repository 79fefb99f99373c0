"""The `usage` of OpenAI's answers."""

from __future__ import annotations

from typing import Any

from workbench.server.chat import Usage


def usage_of(usage: Usage) -> dict[str, Any]:
    """Returns the counts of a call so far; cached tokens are always a number."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
