"""Turns the arguments of `/generate` into requests, and their results into the shape of the call."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from workbench.checks import as_int
from workbench.errors import InvalidRequest, NotSupported, UnknownParameter
from workbench.native.call import CALL
from workbench.native.media import Shown, read_shown
from workbench.native.prompts import Prompt, read_embeds, read_prompts, token_ids
from workbench.native.results import Completion, Results
from workbench.native.session import SessionParams
from workbench.types import ALIASES, InputEmbeds, Request, SamplingParams, SeenPrompt

SAMPLE_SEED_STEP = 0x9E3779B97F4A7C15
"""Difference between the seeds of two samples of a prompt: samples differ, and the same call repeats them."""
SAMPLING = frozenset({*SamplingParams.__struct_fields__, *ALIASES})
"""Keywords that are sampling parameters."""
MEDIA = ("image_data", "modalities")
"""Keywords for pictures."""
LATER = {"lora_path": "adapters"}
"""Options of the reference that are not built yet; only None is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptOptions:
    """The options of one prompt."""

    rid: str = ""
    """Request id, not used by a running request. Empty: a random one. With `n` above 1 samples are `rid`-0, `rid`-1, ..."""
    return_logprob: bool = False
    """Switch to add log-probabilities of prompt and output tokens to `meta_info`, as the model gives them, before any
    sampling parameter."""
    logprob_start_len: int = -1
    """First prompt position whose log-probability is returned, 0 to the prompt's length. -1: output tokens only."""
    top_logprobs_num: int = 0
    """Number of likeliest tokens whose log-probabilities are returned for each position."""
    token_ids_logprob: tuple[int, ...] = ()
    """Token ids whose log-probabilities are returned for each position."""
    return_text_in_logprobs: bool = False
    """Switch to add the text of each token to the log-probabilities."""
    return_hidden_states: bool = False
    """Switch to add the model's last hidden states to `meta_info`. The prompt then reuses no cached prefix."""
    priority: int = 0
    """Rank in the queue, a 64-bit integer: higher ones are scheduled first."""
    timeout_s: float | None = None
    """Seconds, above 0, after which the request is aborted. None: no limit."""
    namespace: str = ""
    """Name of a separate radix tree in the prefix cache: prefixes are shared only within it."""
    custom_logit_processor: str | None = None
    """Serialised `CustomLogitProcessor` that edits the logits; needs `enable_custom_logit_processor`."""
    session_params: SessionParams | None = None
    """Session, and the turn of it that the prompt continues: a dict of `id`, `rid`, `offset` and `replace`."""


KINDS: dict[str, type | tuple[type, ...]] = {
    "rid": str,
    "return_logprob": bool,
    "logprob_start_len": int,
    "top_logprobs_num": int,
    "token_ids_logprob": (list, tuple),
    "return_text_in_logprobs": bool,
    "return_hidden_states": bool,
    "priority": int,
    "timeout_s": (int, float),
    "namespace": str,
    "custom_logit_processor": str,
    "session_params": Mapping,
}
"""The types that each field of `PromptOptions` takes."""


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """One prompt, its sampling parameters and its options."""

    prompt: Prompt | InputEmbeds
    params: SamplingParams
    options: PromptOptions
    shown: tuple[Shown, ...] = ()
    """Its pictures and videos."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A call of `/generate` or `Engine.generate`, with every check that needs no model done."""

    prompts: tuple[PromptRequest, ...]
    is_one: bool
    """True if one prompt was given and not a list: the result is then not a list either."""
    stream: bool = False

    @classmethod
    def make(
        cls, prompt: object, input_ids: object, sampling_params: object, options: Mapping[str, Any], stream: bool = False
    ) -> GenerateRequest:
        """Returns the request of these arguments; `options` are fields of `PromptOptions`, sampling parameters, `input_embeds`,
        `image_data` and `modalities`.

        Raises UnknownParameter, NotSupported or InvalidRequest with the option, its value and its limit.
        """
        embeds = options.get("input_embeds")
        image_data, modalities = options.get("image_data"), options.get("modalities")
        options = {name: value for name, value in options.items() if name not in ("input_embeds", *MEDIA)}
        _check_names(options)
        prompts: Sequence[Prompt | InputEmbeds]
        is_one, prompts = read_prompts(prompt, input_ids) if embeds is None else read_embeds(prompt, input_ids, embeds)
        keywords = {name: value for name, value in options.items() if name in SAMPLING and value is not None}
        many = sampling_params if isinstance(sampling_params, (list, tuple)) else [sampling_params] * len(prompts)
        params = [SamplingParams.make(_merged(each, keywords)) for each in _spread("sampling_params", many, len(prompts))]
        shown = read_shown(image_data, modalities, len(prompts), is_one)
        chosen = [_options(options, i, len(prompts), is_one) for i in range(len(prompts))]
        for given, one, sampling in zip(prompts, chosen, params, strict=True):
            if isinstance(given, InputEmbeds):
                _check_tokenless(one, shown)
            if one.session_params is not None and sampling.n > 1:
                raise InvalidRequest("n", sampling.n, "1 in a session")
        return cls(tuple(map(PromptRequest, prompts, params, chosen, shown)), is_one, stream)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> GenerateRequest:
        """Returns the request of a body of `/generate`, whose prompt is called `text`. Raises what `make` raises."""
        options = {name: value for name, value in body.items() if name not in ("text", "input_ids", "sampling_params", "stream")}
        stream = body.get("stream")
        if stream is not None and not isinstance(stream, bool):
            raise InvalidRequest("stream", stream, "of type bool")
        return cls.make(body.get("text"), body.get("input_ids"), body.get("sampling_params"), options, bool(stream))


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """The requests of a call in order; the `n` samples of a prompt are neighbours."""

    requests: list[Request]
    with_text: list[bool]
    """Flags, one per request: True if its log-probabilities hold the tokens' texts."""
    counts: list[int]
    """Number of samples of each prompt."""
    is_one: bool
    sessions: list[SessionParams | None]
    """The session of each request."""

    def shape(self, results: list[Completion]) -> Results:
        """Returns one result, or a list with one entry per prompt; the entry of several samples is a list."""
        shaped: list[Completion | list[Completion]] = []
        at = 0
        for count in self.counts:
            shaped.append(results[at] if count == 1 else results[at : at + count])
            at += count
        return shaped[0] if self.is_one else shaped

    def chunk(self, result: Completion, i: int) -> Completion:
        """Returns the result of request `i` as a chunk of a stream, with its `index` if there are several requests."""
        return result if len(self.requests) == 1 else {**result, "index": i}


See = Callable[[Prompt, Sequence[Shown]], SeenPrompt]
"""Returns a prompt, with its pictures, as token ids."""
Continued = Callable[[SessionParams, str, SeenPrompt], SeenPrompt]
"""Returns a prompt (its request id, its own part) behind the turn that it continues."""


def make_batch(
    request: GenerateRequest, limit: Callable[[tuple[int, ...], SamplingParams], tuple[int, ...]], seeds: random.Random,
    continued: Continued, see: See,
) -> PromptBatch:  # fmt: skip
    """Returns the engine's requests. `see` turns a prompt into token ids, `limit` may shorten those without pictures.

    Draws from `seeds` for prompts without a seed.
    """
    requests: list[Request] = []
    with_text: list[bool] = []
    sessions: list[SessionParams | None] = []
    for each in request.prompts:
        if isinstance(each.prompt, InputEmbeds):
            seen = SeenPrompt((0,) * each.prompt.num_tokens)
        else:
            seen = see(each.prompt, each.shown)
        rid = each.options.rid or uuid.uuid4().hex[:12]
        if (session := each.options.session_params) is not None:
            seen = continued(session, rid, seen)
        seed = seeds.getrandbits(63) if each.params.seed is None else each.params.seed
        kept = seen.ids if isinstance(each.prompt, InputEmbeds) or seen.pictures else limit(seen.ids, each.params)
        for j in range(each.params.n):
            requests.append(structs.replace(_sample(each, kept, rid, j, seed), pictures=seen.pictures, axes=seen.axes))
            with_text.append(each.options.return_text_in_logprobs)
            sessions.append(session)
    return PromptBatch(requests, with_text, [each.params.n for each in request.prompts], request.is_one, sessions)


def _check_tokenless(options: PromptOptions, shown: Sequence[object]) -> None:
    """Raises InvalidRequest for options that need the tokens of a prompt, which embeddings do not have."""
    if any(shown):
        raise InvalidRequest.because("image_data", "embeddings have no places for pictures", hint="send text or input_ids")
    if options.session_params is not None:
        raise InvalidRequest.because("input_embeds", "a session continues tokens, no embeddings", hint="leave session_params out")
    if options.logprob_start_len >= 0:
        message = "embeddings have no tokens whose log-probability could be returned"
        raise InvalidRequest.because("logprob_start_len", message, hint="leave it at -1: those of the output")


def _namespace(options: PromptOptions, prompt: Prompt | InputEmbeds) -> str:
    """Returns the name of the radix tree: embeddings have one of their own, so that none is taken for another prompt."""
    if not isinstance(prompt, InputEmbeds):
        return options.namespace
    return f"{options.namespace}/input_embeds-{hashlib.sha256(prompt.data).hexdigest()[:32]}"


def _sample(prompt: PromptRequest, input_ids: tuple[int, ...], rid: str, j: int, seed: int) -> Request:
    """Returns the request of sample `j` of a prompt."""
    options, is_single = prompt.options, prompt.params.n == 1
    return Request(
        rid=rid if is_single else f"{rid}-{j}",
        group="" if is_single else rid,
        input_ids=input_ids,
        params=prompt.params,
        seed=(seed + j * SAMPLE_SEED_STEP) % (1 << 63),
        return_logprob=options.return_logprob,
        logprob_start_len=options.logprob_start_len,
        top_logprobs_num=options.top_logprobs_num,
        token_ids_logprob=options.token_ids_logprob,
        namespace=_namespace(options, prompt.prompt),
        input_embeds=prompt.prompt if isinstance(prompt.prompt, InputEmbeds) else None,
        priority=options.priority,
        timeout_s=options.timeout_s,
        origin=CALL.get().origin,
        custom_logit_processor=options.custom_logit_processor,
        return_hidden_states=options.return_hidden_states,
    )


def _check_names(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name in LATER and value is not None:
            raise NotSupported(f"{name}: {LATER[name]} are not available yet", hint="leave it out, or give None")
        if name not in KINDS and name not in SAMPLING and name not in LATER:
            raise UnknownParameter(name, [*KINDS, *SAMPLING, *MEDIA], where="generate")


def _merged(params: Any, keywords: Mapping[str, Any]) -> Any:
    """Returns the sampling parameters with those given as keywords. Raises InvalidRequest for a name that both have."""
    if not keywords:
        return params
    if isinstance(params, SamplingParams):
        default = SamplingParams()
        changed = (name for name in params.__struct_fields__ if getattr(params, name) != getattr(default, name))
        params = {name: getattr(params, name) for name in changed}
    if params is not None and not isinstance(params, Mapping):
        return params  # `SamplingParams.make` refuses it
    given = {ALIASES.get(name, name) for name, value in (params or {}).items() if value is not None}
    for name in keywords:
        if ALIASES.get(name, name) in given:
            raise InvalidRequest.because(name, f"{name} is given as a keyword and in sampling_params", hint="keep one of them")
    return {**(params or {}), **keywords}


def _options(options: Mapping[str, Any], i: int, count: int, is_one: bool) -> PromptOptions:
    """Returns the options of prompt `i`. A list has one value per prompt; any other value is for all prompts."""
    chosen: dict[str, Any] = {}
    for name in KINDS:
        value = options.get(name)
        if not is_one and isinstance(value, (list, tuple)) and (name != "token_ids_logprob" or _is_nested(value)):
            value = _spread(name, value, count)[i]
        elif name == "rid" and value is not None and count > 1:
            raise InvalidRequest("rid", value, f"a list of {count} ids, one per prompt")
        if value is not None:
            chosen[name] = _checked(name, value)
    return PromptOptions(**chosen)


def _is_nested(ids: Sequence[object]) -> bool:
    return bool(ids) and isinstance(ids[0], (list, tuple, type(None)))


def _checked(name: str, value: Any) -> Any:
    """Returns the value in the type of `PromptOptions`. Raises InvalidRequest for another type."""
    kind = KINDS[name]
    if kind is int:
        return as_int(name, value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        wanted = " or ".join(k.__name__ for k in kind) if isinstance(kind, tuple) else kind.__name__.lower()
        raise InvalidRequest(name, value, f"of type {wanted}")
    if isinstance(value, (list, tuple)):
        return token_ids(name, value)
    if isinstance(value, Mapping):
        return SessionParams.make(value)
    return as_int(name, value) if isinstance(value, int) and kind is not bool else value


def _spread(name: str, values: Sequence[Any], count: int) -> Sequence[Any]:
    if len(values) != count:
        message = f"{name} has {len(values)} value{'s' * (len(values) != 1)} for {count} prompt{'s' * (count != 1)}"
        raise InvalidRequest.because(name, message, hint="give one value for all, or a list with one per prompt")
    return values
