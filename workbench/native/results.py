"""The results of `/generate` and `Engine.generate`, as typed dicts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias, TypedDict

from workbench.errors import InvalidRequest
from workbench.types import FinishInfo

if TYPE_CHECKING:  # clients of a server have no numpy
    import numpy as np
    from numpy.typing import NDArray

LogprobEntry: TypeAlias = list[Any]
"""[log-probability, token id, text or None]. The log-probability of a prompt's first token is None."""
TopLogprobs: TypeAlias = list[LogprobEntry] | None
"""The entries of one position, the likeliest first. None for the first position of a prompt, which has none."""


class MetaInfo(TypedDict):
    """Facts about one result. Keys that are not required are present only if they were requested or apply."""

    id: str
    """Request id."""
    prompt_tokens: int
    """Tokens of the prompt."""
    completion_tokens: int
    """Output tokens so far."""
    cached_tokens: int
    """Prompt tokens whose K/V was reused."""
    finish_reason: FinishInfo | None
    """None in a stream, until the last chunk."""
    constraint_met: NotRequired[bool]
    """With a constraint, at the end: True if the text satisfies it."""
    constraint_expected: NotRequired[str]
    """Continuation that an incomplete constraint would have allowed, in words."""
    unenforced: NotRequired[list[str]]
    """Parts of the constraint that no mask enforced."""
    forced_tokens: NotRequired[int]
    """With a constraint: number of output tokens that it forced."""
    input_token_logprobs: NotRequired[list[LogprobEntry]]
    """With `return_logprob`: one entry per prompt position from `logprob_start_len` on."""
    output_token_logprobs: NotRequired[list[LogprobEntry]]
    """With `return_logprob`: one entry per output token."""
    input_top_logprobs: NotRequired[list[TopLogprobs]]
    """With `top_logprobs_num`: the likeliest tokens at each of these positions."""
    output_top_logprobs: NotRequired[list[TopLogprobs]]
    """With `top_logprobs_num`: the likeliest tokens in the place of each output token."""
    input_token_ids_logprobs: NotRequired[list[TopLogprobs]]
    """With `token_ids_logprob`: those tokens at each of these positions, in its order."""
    output_token_ids_logprobs: NotRequired[list[TopLogprobs]]
    """With `token_ids_logprob`: those tokens in the place of each output token, in its order."""
    hidden_states: NotRequired[list[NDArray[np.float32]]]
    """With `return_hidden_states`: float32 [prompt tokens, width], then [width] for each output token except the last."""


class Completion(TypedDict):
    """The result of one sample of one prompt; in a stream, the result so far."""

    text: NotRequired[str]
    """Output text. Absent without a tokenizer (`skip_tokenizer_init`)."""
    token_ids: NotRequired[list[int]]
    """Output token ids, in the place of `text` without a tokenizer."""
    output_ids: list[int]
    """Output token ids."""
    meta_info: MetaInfo
    """Costs, reasons and probabilities."""
    index: NotRequired[int]
    """In a stream of several requests: the number of the request; samples of a prompt are neighbours."""


Results: TypeAlias = Completion | list[Completion] | list[list[Completion]] | list[Completion | list[Completion]]
"""One prompt: a completion, or with `n` above 1 a list of them. Several prompts: a list with one of these per prompt."""


def json_values(results: Results, schema: object) -> Any:
    """Returns the JSON values of results in the same lists; instances if the schema is a Pydantic model.

    Raises InvalidRequest for a text that is not complete.
    """
    if isinstance(results, list):
        return [json_values(result, schema) for result in results]
    read = getattr(schema, "model_validate_json", json.loads)
    try:
        return read(results["text"])
    except ValueError as error:
        num = results["meta_info"]["completion_tokens"]
        raise InvalidRequest.because(
            "max_new_tokens", f"the JSON is not complete after {num} tokens",
            hint="give more (max_new_tokens=...), or a schema that needs fewer (maxLength, maxItems)",
        ) from error  # fmt: skip
