"""The keywords of `generate` and the body of `/generate`, for type checkers and completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypedDict, TypeVar

from workbench.types import SamplingParams

M_co = TypeVar("M_co", covariant=True)


class Array(Protocol):
    """An array or a tensor of token ids."""

    def tolist(self) -> Any: ...


class Encoded(Protocol):
    """One encoded text of the `tokenizers` library."""

    @property
    def ids(self) -> list[int]: ...

    @property
    def attention_mask(self) -> list[int]: ...


class JsonModel(Protocol[M_co]):
    """A Pydantic model class: it has a schema and makes instances from JSON."""

    def model_json_schema(self) -> dict[str, Any]: ...

    def model_validate_json(self, json_data: str, /) -> M_co: ...


Texts: TypeAlias = list[str] | tuple[str, ...]
TokenIds: TypeAlias = Sequence[int]
ManyTokenIds: TypeAlias = Sequence[Sequence[int]]
Encodings: TypeAlias = Array | Encoded | Mapping[str, Any] | Sequence[Array] | Sequence[Encoded]
"""Token ids in the types of other libraries: one prompt or several, as the values show."""
Params: TypeAlias = SamplingParams | Mapping[str, Any]
"""Sampling parameters: a `SamplingParams`, or a dict of its fields."""
Schema: TypeAlias = str | bool | Mapping[str, Any] | JsonModel[Any]
"""A JSON schema: JSON text, a dict, True or False, or a Pydantic model."""


class SamplingOptions(TypedDict, total=False):
    """Sampling parameters as keywords, `n` and constraints left aside. `SamplingParams` documents each."""

    max_new_tokens: int | None
    max_tokens: int | None
    min_new_tokens: int | None
    min_tokens: int | None
    stop: str | Sequence[str] | None
    stop_token_ids: Sequence[int] | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repetition_penalty: float | None
    ignore_eos: bool | None
    skip_special_tokens: bool | None
    spaces_between_special_tokens: bool | None
    seed: int | None
    logit_bias: Mapping[int, float] | Mapping[str, float] | None
    custom_params: dict[str, Any] | None


class ConstraintOptions(TypedDict, total=False):
    """A constraint: at most one of these; `max_whitespace` beside a JSON one. `SamplingParams` documents each."""

    json_schema: Schema | None
    regex: str | None
    ebnf: str | None
    json_object: bool | None
    choices: Sequence[str] | None
    grammar: str | None
    structural_tag: str | Mapping[str, Any] | None
    max_whitespace: int | None


class RequestOptions(TypedDict, total=False):
    """Options of a request other than sampling parameters: one value for all prompts, or a list with one per prompt.

    `native.requests.PromptOptions` documents each.
    """

    rid: str | Sequence[str | None] | None
    return_logprob: bool | Sequence[bool | None] | None
    logprob_start_len: int | Sequence[int | None] | None
    top_logprobs_num: int | Sequence[int | None] | None
    token_ids_logprob: Sequence[int] | Sequence[Sequence[int] | None] | None
    return_text_in_logprobs: bool | Sequence[bool | None] | None
    return_hidden_states: bool | Sequence[bool | None] | None
    priority: int | Sequence[int | None] | None
    timeout_s: float | Sequence[float | None] | None
    namespace: str | Sequence[str | None] | None
    custom_logit_processor: str | Sequence[str | None] | None
    session_params: Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None


class GenerateOptions(SamplingOptions, ConstraintOptions, RequestOptions, total=False):
    """The keywords of `Engine.generate` and its relatives."""

    input_embeds: Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]] | Array | Sequence[Array] | None
    """Embeddings in the place of a prompt: one row for each token, as wide as the model."""
    image_data: Any
    """Pictures of the prompt, in the order of their placeholders: a path, a URL of a host in `allowed_media`, a data URL, base64
    text, bytes or a pillow image, or a list of these. A video is a film or an animated picture, the list of its frames, or a dict
    of `url` (either) and of `fps` or `num_frames`. With several prompts: a list with one such value for each, or None."""
    modalities: str | Sequence[Any] | None
    """Kind of `image_data`: "image", "multi-images" (the same) or "video", whose frames are the pictures."""


class PromptBody(TypedDict, total=False):
    """One prompt in the form of `/generate`: either `text` or `input_ids`."""

    text: str
    input_ids: list[int]


class GenerateBody(RequestOptions, total=False):
    """The JSON body of `/generate` as a client writes it: `text`, `input_ids` or `input_embeds`, for one prompt or several."""

    text: str | list[str]
    input_ids: list[int] | list[list[int]]
    input_embeds: list[list[float]] | list[list[list[float]]]
    image_data: str | list[Any]
    modalities: str | list[Any]
    sampling_params: Mapping[str, Any]
    """Parameters for all prompts; the server also takes a list with one dict per prompt."""
    stream: bool
