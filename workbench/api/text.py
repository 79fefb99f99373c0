"""`TextEngine`: the methods of `Engine` that make text, with one signature for each kind of result.

A type checker sees `Completion` for one prompt, a list for several, a list of lists with `n`, and an iterator with `stream`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeAlias, Unpack, overload

from workbench.api.generation import Generation
from workbench.api.handle import Handle
from workbench.api.options import GENERATE_DEFAULTS, Message
from workbench.errors import InvalidRequest
from workbench.native.options import Encodings, GenerateOptions, JsonModel, M_co, ManyTokenIds, Params, Schema, Texts, TokenIds
from workbench.native.requests import GenerateRequest
from workbench.native.results import Completion, Results, json_values
from workbench.signature import takes

ManyParams: TypeAlias = Params | Sequence[Params] | None
AnyIds: TypeAlias = TokenIds | ManyTokenIds | Encodings


class TextEngine:
    """Continues texts and answers conversations on a running engine."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._generation = Generation(handle)

    @overload
    def generate(  # type: ignore[overload-overlap]
        self, prompt: str | None = None, sampling_params: Params | None = None, input_ids: TokenIds | None = None, *,
        stream: Literal[False] = False, n: Literal[1] | None = None, **options: Unpack[GenerateOptions],
    ) -> Completion: ...  # fmt: skip
    @overload
    def generate(
        self, prompt: str | None = None, sampling_params: Params | None = None, input_ids: TokenIds | None = None, *,
        stream: Literal[False] = False, n: int, **options: Unpack[GenerateOptions],
    ) -> list[Completion]: ...  # fmt: skip
    @overload
    def generate(  # type: ignore[overload-overlap]
        self, prompt: Texts | None = None, sampling_params: ManyParams = None, input_ids: ManyTokenIds | None = None, *,
        stream: Literal[False] = False, n: Literal[1] | None = None, **options: Unpack[GenerateOptions],
    ) -> list[Completion]: ...  # fmt: skip
    @overload
    def generate(
        self, prompt: Texts | None = None, sampling_params: ManyParams = None, input_ids: ManyTokenIds | None = None, *,
        stream: Literal[False] = False, n: int, **options: Unpack[GenerateOptions],
    ) -> list[list[Completion]]: ...  # fmt: skip
    @overload
    def generate(
        self, prompt: str | Texts | None = None, sampling_params: ManyParams = None, input_ids: AnyIds | None = None, *,
        stream: Literal[True], n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> Iterator[Completion]: ...  # fmt: skip
    @overload
    def generate(
        self, prompt: str | Texts | None = None, sampling_params: ManyParams = None, input_ids: AnyIds | None = None, *,
        stream: bool = False, n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> Any: ...  # fmt: skip
    @takes(GenerateOptions, GENERATE_DEFAULTS)
    def generate(
        self, prompt: str | list[str] | tuple[str, ...] | None = None,
        sampling_params: Params | Sequence[Params] | None = None, input_ids: AnyIds | None = None, *,
        stream: bool = False, n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> Results | Iterator[Completion]:  # fmt: skip
        """Continues one prompt (returns a `Completion`) or several (returns a list of them, in order).

        `prompt` is a text or a list of texts. `input_ids`, in its place, are token ids, or the output of a tokenizer.
        Sampling parameters are those of `workbench.SamplingParams`: a dict, a list with one per prompt, or keywords, as in
        `generate("Once", temperature=0)`. The other keywords are options of the request (`rid`, `return_logprob`,
        `timeout_s`, ...): one value, or a list with one per prompt.

        A result is a dict with `text` (without a tokenizer `token_ids`), `output_ids` and `meta_info`. With `n` above 1 each
        prompt has a list of results. With `stream=True` the call returns an iterator at once; it yields the results as they
        grow, with an `index` if there are several requests. Closing the iterator, or leaving the call by an error, aborts the
        requests.

        Raises InvalidRequest, UnknownParameter or PromptTooLong with field, value and limit; QueueFull; NotSupported for a
        feature that is not built; EngineDead once the engine has ended.
        """
        request = self._request(prompt, sampling_params, input_ids, {**options, "n": n})
        return self._generation.stream(request) if stream else self._generation.results(request)

    @overload
    async def async_generate(  # type: ignore[overload-overlap]
        self, prompt: str | None = None, sampling_params: Params | None = None, input_ids: TokenIds | None = None, *,
        stream: Literal[False] = False, n: Literal[1] | None = None, **options: Unpack[GenerateOptions],
    ) -> Completion: ...  # fmt: skip
    @overload
    async def async_generate(
        self, prompt: str | None = None, sampling_params: Params | None = None, input_ids: TokenIds | None = None, *,
        stream: Literal[False] = False, n: int, **options: Unpack[GenerateOptions],
    ) -> list[Completion]: ...  # fmt: skip
    @overload
    async def async_generate(  # type: ignore[overload-overlap]
        self, prompt: Texts | None = None, sampling_params: ManyParams = None, input_ids: ManyTokenIds | None = None, *,
        stream: Literal[False] = False, n: Literal[1] | None = None, **options: Unpack[GenerateOptions],
    ) -> list[Completion]: ...  # fmt: skip
    @overload
    async def async_generate(
        self, prompt: Texts | None = None, sampling_params: ManyParams = None, input_ids: ManyTokenIds | None = None, *,
        stream: Literal[False] = False, n: int, **options: Unpack[GenerateOptions],
    ) -> list[list[Completion]]: ...  # fmt: skip
    @overload
    async def async_generate(
        self, prompt: str | Texts | None = None, sampling_params: ManyParams = None, input_ids: AnyIds | None = None, *,
        stream: Literal[True], n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> AsyncIterator[Completion]: ...  # fmt: skip
    @overload
    async def async_generate(
        self, prompt: str | Texts | None = None, sampling_params: ManyParams = None, input_ids: AnyIds | None = None, *,
        stream: bool = False, n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> Any: ...  # fmt: skip
    @takes(GenerateOptions, GENERATE_DEFAULTS)
    async def async_generate(
        self, prompt: str | list[str] | tuple[str, ...] | None = None,
        sampling_params: Params | Sequence[Params] | None = None, input_ids: AnyIds | None = None, *,
        stream: bool = False, n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> Results | AsyncIterator[Completion]:  # fmt: skip
        """Does what `generate` does, without blocking the event loop. Returns an async iterator with `stream=True`."""
        request = self._request(prompt, sampling_params, input_ids, {**options, "n": n})
        running = await self._generation.submit(request)
        return self._generation.chunks(running) if stream else await self._generation.finished(running)

    @overload
    def chat(  # type: ignore[overload-overlap]
        self, messages: Sequence[Message], sampling_params: Params | None = None, *, tools: Sequence[Any] | None = None,
        stream: Literal[False] = False, n: Literal[1] | None = None, **options: Unpack[GenerateOptions],
    ) -> Completion: ...  # fmt: skip
    @overload
    def chat(
        self, messages: Sequence[Message], sampling_params: Params | None = None, *, tools: Sequence[Any] | None = None,
        stream: Literal[False] = False, n: int, **options: Unpack[GenerateOptions],
    ) -> list[Completion]: ...  # fmt: skip
    @overload
    def chat(
        self, messages: Sequence[Message], sampling_params: Params | None = None, *, tools: Sequence[Any] | None = None,
        stream: Literal[True], n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> Iterator[Completion]: ...  # fmt: skip
    @overload
    def chat(
        self, messages: Sequence[Message], sampling_params: Params | None = None, *, tools: Sequence[Any] | None = None,
        stream: bool = False, n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> Any: ...  # fmt: skip
    @takes(GenerateOptions, GENERATE_DEFAULTS)
    def chat(
        self, messages: Sequence[Message], sampling_params: Params | None = None, *, tools: Sequence[Any] | None = None,
        stream: bool = False, n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> Results | Iterator[Completion]:  # fmt: skip
        """Answers a conversation (a list of dicts with `role` and `content`) in the model's own chat template; returns a
        `Completion`, or what `stream` and `n` make of it in `generate`.

        A model that sees takes pictures as parts of a content, in the form of OpenAI or as {"type": "image", "image": source}.
        `tools` are descriptions of functions, for a template that shows them to the model. Other arguments, and what it
        returns, are those of `generate`. Raises what `generate` raises, and NotSupported for a model without a template.
        """
        with self._underway(options):
            talk = self._talk(messages, tools, options)
            return self.generate(sampling_params=sampling_params, stream=stream, n=n, **talk, **options)

    @overload
    async def async_chat(  # type: ignore[overload-overlap]
        self, messages: Sequence[Message], sampling_params: Params | None = None, *, tools: Sequence[Any] | None = None,
        stream: Literal[False] = False, n: Literal[1] | None = None, **options: Unpack[GenerateOptions],
    ) -> Completion: ...  # fmt: skip
    @overload
    async def async_chat(
        self, messages: Sequence[Message], sampling_params: Params | None = None, *, tools: Sequence[Any] | None = None,
        stream: Literal[False] = False, n: int, **options: Unpack[GenerateOptions],
    ) -> list[Completion]: ...  # fmt: skip
    @overload
    async def async_chat(
        self, messages: Sequence[Message], sampling_params: Params | None = None, *, tools: Sequence[Any] | None = None,
        stream: Literal[True], n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> AsyncIterator[Completion]: ...  # fmt: skip
    @overload
    async def async_chat(
        self, messages: Sequence[Message], sampling_params: Params | None = None, *, tools: Sequence[Any] | None = None,
        stream: bool = False, n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> Any: ...  # fmt: skip
    @takes(GenerateOptions, GENERATE_DEFAULTS)
    async def async_chat(
        self, messages: Sequence[Message], sampling_params: Params | None = None, *, tools: Sequence[Any] | None = None,
        stream: bool = False, n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> Results | AsyncIterator[Completion]:  # fmt: skip
        """Does what `chat` does, without blocking the event loop. Returns an async iterator with `stream=True`."""
        with self._underway(options):
            talk = await asyncio.to_thread(self._talk, messages, tools, options)
            return await self.async_generate(sampling_params=sampling_params, stream=stream, n=n, **talk, **options)

    @overload
    def generate_json(
        self, prompt: str, schema: JsonModel[M_co], sampling_params: Params | None = None, *,
        n: Literal[1] | None = None, **options: Unpack[GenerateOptions],
    ) -> M_co: ...  # fmt: skip
    @overload
    def generate_json(
        self, prompt: Texts, schema: JsonModel[M_co], sampling_params: ManyParams = None, *,
        n: Literal[1] | None = None, **options: Unpack[GenerateOptions],
    ) -> list[M_co]: ...  # fmt: skip
    @overload
    def generate_json(
        self, prompt: str | Texts | None, schema: Schema, sampling_params: ManyParams = None, *,
        input_ids: AnyIds | None = None, n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> Any: ...  # fmt: skip
    @takes(GenerateOptions, GENERATE_DEFAULTS)
    def generate_json(
        self, prompt: str | Texts | None, schema: Schema, sampling_params: ManyParams = None, *,
        input_ids: AnyIds | None = None, stream: bool = False, n: int | None = None, **options: Unpack[GenerateOptions],
    ) -> Any:  # fmt: skip
        """Continues a prompt with JSON of a schema (a dict, JSON text or a Pydantic model), and returns its value.

        With a Pydantic model the value is an instance of it. Several prompts, or `n` above 1, return lists.
        Raises InvalidRequest if the JSON is not complete after `max_new_tokens`, and what `generate` raises.
        """
        if stream:
            raise InvalidRequest.because("stream", "JSON has a value when it is whole", hint="generate(stream=True) has its text")
        if options.get("json_schema") is not None:
            raise InvalidRequest.because("json_schema", "schema and json_schema are both given", hint="keep one of them")
        request = self._request(prompt, sampling_params, input_ids, {**options, "n": n, "json_schema": schema})
        return json_values(self._generation.results(request), schema)

    @property
    def picture_marks(self) -> dict[str, str]:
        """Placeholders of pictures in prompts, by their kind (image, video); empty for a model that sees none."""
        return self._handle.picture_marks

    def _underway(self, options: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Returns a context in which the request of a conversation is on its way to the engine."""
        rid = options.get("rid")
        return self._generation.underway.of([rid] if isinstance(rid, str) else [])

    def _talk(self, messages: Sequence[Message], tools: Sequence[Any] | None, options: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the prompt and the pictures of a conversation."""
        if options.get("image_data") is not None:
            message = "image_data stands beside a conversation, which has pictures in its messages"
            raise InvalidRequest.because("image_data", message, hint='write {"type": "image", "image": ...} parts of a content')
        return self._handle.conversation(messages, tools)

    def _request(self, prompt: object, sampling_params: object, input_ids: object, options: dict[str, Any]) -> GenerateRequest:
        if self._handle.args.return_hidden_states and options.get("return_hidden_states") is None:
            options["return_hidden_states"] = True
        return GenerateRequest.make(prompt, input_ids, sampling_params, options)
