"""The bodies of OpenAI's routes. Fields that are known and not supported are refused unless they have their neutral value."""

from __future__ import annotations

from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.server.body import Body
from workbench.server.problem import Problem
from workbench.server.shapes import (
    Bias,
    Count,
    Limit,
    Messages,
    MinP,
    Penalty,
    Prompts,
    Repetition,
    ResponseFormat,
    Scored,
    Seed,
    Stops,
    Temperature,
    Tokens,
    ToolChoice,
    Tools,
    TopK,
    TopP,
)

SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed", "stop",
    "stop_token_ids", "logit_bias", "min_tokens", "ignore_eos", "skip_special_tokens", "regex", "ebnf", "json_schema",
    "structural_tag", "choices", "grammar", "max_whitespace", "custom_params",
)  # fmt: skip
"""Fields that are sampling parameters under the same name."""
OPTIONS = ("priority", "timeout_s", "namespace", "custom_logit_processor")
"""Fields that are options of a prompt under the same name."""
REFUSED: dict[str, tuple[Any, ...]] = {
    "audio": (None,), "modalities": (None, ["text"]), "functions": (None, []), "function_call": (None, "none", "auto"),
    "web_search_options": (None,), "prediction": (None,), "lora_path": (None,), "session_params": (None,), "suffix": (None, ""),
    "return_hidden_states": (None, False), "no_stop_trim": (None, False), "use_beam_search": (None, False),
    "prompt_logprobs": (None,), "logits_processors": (None, []),
}  # fmt: skip
"""Known fields that have no effect here, with their neutral values."""


class StreamOptions(Body):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class SamplingBody(Body):
    """The fields that chats and completions share."""

    model: str | None = None
    max_tokens: Limit = None
    temperature: Temperature = None
    top_p: TopP = None
    top_k: TopK = None
    min_p: MinP = None
    presence_penalty: Penalty = None
    frequency_penalty: Penalty = None
    repetition_penalty: Repetition = None
    n: Count = None
    seed: Seed = None
    stop: Stops = None
    stop_token_ids: Tokens = None
    logit_bias: Bias = None
    min_tokens: Limit = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    regex: str | None = None
    ebnf: str | None = None
    json_schema: str | dict[str, Any] | None = None
    structural_tag: str | dict[str, Any] | None = None
    response_format: ResponseFormat = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    rid: str | None = None
    user: str | None = None

    def sampling(self) -> dict[str, Any]:
        """Returns the fields of `SamplingParams` that are given."""
        return self._given(SAMPLING)

    def options(self) -> dict[str, Any]:
        """Returns the fields of `PromptOptions` that are given."""
        return self._given(OPTIONS)

    def check(self) -> None:
        """Raises InvalidRequest, NotSupported or Problem for values out of range, and for what is known and not supported."""
        most = None
        for name in ("max_tokens", "max_completion_tokens"):
            if (limit := getattr(self, name, None)) is not None and limit < 0:
                raise InvalidRequest(name, limit, "at least 0")
            most = most if limit is None else limit
        if most is not None and self.min_tokens is not None and self.min_tokens > most:
            raise InvalidRequest("min_tokens", self.min_tokens, f"at most max_tokens ({most})")
        for name, neutral in REFUSED.items():
            value = (self.model_extra or {}).get(name)
            if value not in neutral:
                raise NotSupported(f"{name} is not supported", hint="leave it out")
        if self.stream and (self.model_extra or {}).get("stream_reasoning") is False:
            raise NotSupported("stream_reasoning: false is not supported", hint="set separate_reasoning, or leave out stream")
        if self.stream_options is not None and not self.stream:
            raise Problem(400, "stream_options need stream: true", param="stream_options", code="invalid_value")

    def _given(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(self, name, None)) is not None}


class ChatBody(SamplingBody):
    """The body of `/v1/chat/completions`."""

    messages: Messages
    max_completion_tokens: Limit = None
    tools: Tools = None
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Scored = None
    separate_reasoning: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    reasoning_effort: str | None = None


class CompletionBody(SamplingBody):
    """The body of `/v1/completions`."""

    prompt: Prompts
    """Text, texts, token ids, or lists of these."""
    best_of: Count = None
    echo: bool | None = None
    logprobs: int | bool | None = None
    """Number of likeliest tokens to score beside each token. 0: the token alone."""
