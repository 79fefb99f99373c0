"""The bodies of OpenAI's routes. Fields that are known and not supported are refused unless they have their neutral value."""

from __future__ import annotations

from typing import Any, ClassVar

from workbench.errors import InvalidRequest, NotSupported
from workbench.server.body import Body
from workbench.server.problem import Problem
from workbench.server.schema import NULL, Schema, needs
from workbench.server.shapes import (
    FREE_CHOICE,
    LEFT_OUT,
    ONE_CONSTRAINT,
    SOME_TOOLS,
    TRUE,
    Bias,
    Choices,
    Count,
    Limit,
    Messages,
    MinP,
    Penalty,
    Prompts,
    Rank,
    Repetition,
    ResponseFormat,
    Scored,
    ScoredOrNot,
    Seconds,
    Seed,
    Short,
    Space,
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
    """Switch to end the stream with a chunk that has the token counts."""
    continuous_usage_stats: bool | None = None
    """Switch to put the token counts so far into every chunk."""


class SamplingBody(Body):
    """The fields that chats and completions share."""

    NEEDS: ClassVar[dict[str, Schema]] = needs("stream_options", NULL, stream=TRUE)
    ALSO = ONE_CONSTRAINT

    model: str | None = None
    """Name of a model; whatever it is, the served one answers."""
    max_tokens: Limit = None
    """Most output tokens, at least 0. None: up to the end of the context in a chat, 16 in a completion."""
    temperature: Temperature = None
    top_p: TopP = None
    top_k: TopK = None
    min_p: MinP = None
    presence_penalty: Penalty = None
    frequency_penalty: Penalty = None
    repetition_penalty: Repetition = None
    n: Count = None
    """Number of answers to each prompt, 1 to 128."""
    seed: Seed = None
    stop: Stops = None
    stop_token_ids: Tokens = None
    logit_bias: Bias = None
    min_tokens: Limit = None
    """Fewest output tokens, at most `max_tokens`: before them neither the end of text nor a stop token is drawn."""
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    regex: str | None = None
    ebnf: str | None = None
    json_schema: str | dict[str, Any] | None = None
    structural_tag: str | dict[str, Any] | None = None
    choices: Choices = None
    grammar: str | None = None
    max_whitespace: Space = None
    custom_params: dict[str, Any] | None = None
    response_format: ResponseFormat = None
    """Form of the answer: `text`, `json_object`, `json_schema` or `structural_tag`."""
    stream: bool | None = None
    """Switch to send the answer as it grows, in server-sent events."""
    stream_options: StreamOptions | None = None
    """Switches `include_usage`, for a last chunk with the token counts, and `continuous_usage_stats`, for the counts so far in
    every chunk."""
    rid: Short = None
    priority: Rank = None
    timeout_s: Seconds = None
    namespace: Short = None
    custom_logit_processor: str | None = None
    user: Short = None
    """Name of the user, without effect."""

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

    NEEDS = (
        SamplingBody.NEEDS | needs("top_logprobs", LEFT_OUT, logprobs=TRUE) | needs("tool_choice", FREE_CHOICE, tools=SOME_TOOLS)
    )

    messages: Messages
    """Conversation: texts, pictures, calls of tools and their results."""
    max_completion_tokens: Limit = None
    """Most output tokens; before `max_tokens`, if both are given. None: up to the end of the context."""
    tools: Tools = None
    """Functions that the model may call."""
    tool_choice: ToolChoice = None
    """Choice: whether a tool may, must or must not be called, or the one to call. None: it may."""
    parallel_tool_calls: bool | None = None
    """Switch to let the model make more than one call; true if left out."""
    logprobs: bool | None = None
    """Switch to return the log-probability of each output token."""
    top_logprobs: Scored = None
    """Number of likeliest tokens to score beside each token, 0 to 20; needs `logprobs`."""
    separate_reasoning: bool | None = None
    """Switch to part reasoning from the answer, where the server has a reasoning parser; true if left out."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Further variables of the chat template, such as `enable_thinking`."""
    add_generation_prompt: bool | None = None
    """Switch to end the prompt with the beginning of an answer; true if left out."""
    continue_final_message: bool | None = None
    """Switch to continue the last message, one of the assistant, in the place of a new one."""
    reasoning_effort: str | None = None
    """Variable `reasoning_effort` of the chat template."""


class CompletionBody(SamplingBody):
    """The body of `/v1/completions`."""

    prompt: Prompts
    """Text, texts, token ids, or lists of these."""
    best_of: Count = None
    """Number of texts of which the `n` with the highest mean log-probability are returned. None: `n`."""
    echo: bool | None = None
    """Switch to begin the text with the prompt."""
    logprobs: ScoredOrNot = None
    """Number of likeliest tokens to score beside each token. 0: the token alone."""
