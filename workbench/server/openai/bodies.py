"""The bodies of OpenAI's routes. Fields that are known and not supported are refused unless they have their neutral value."""

from __future__ import annotations

from typing import Any

from workbench.errors import NotSupported
from workbench.server.body import Body
from workbench.server.problem import Problem

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
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    logit_bias: dict[str, float] | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    regex: str | None = None
    ebnf: str | None = None
    json_schema: str | dict[str, Any] | None = None
    structural_tag: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
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
        """Raises NotSupported or Problem for what is known and not supported."""
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

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    separate_reasoning: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    reasoning_effort: str | None = None


class CompletionBody(SamplingBody):
    """The body of `/v1/completions`."""

    prompt: str | list[str] | list[int] | list[list[int]]
    """Text, texts, token ids, or lists of these."""
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | bool | None = None
    """Number of likeliest tokens to score beside each token. 0: the token alone."""
