"""From what a user passes to `generate` to requests, and back from results to the shape that was asked for."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import InvalidRequest, NotSupported, UnknownParameter
from workbench.types import ALIASES, Request, SamplingParams, as_int

SAMPLE_SEED_STEP = 0x9E3779B97F4A7C15
"""Sample j of a prompt draws with seed + j times this, so that parallel samples differ and repeat."""
OPTIONS: dict[str, tuple[type | tuple[type, ...], Any]] = {
    "return_logprob": (bool, False),
    "logprob_start_len": (int, -1),
    "top_logprobs_num": (int, 0),
    "token_ids_logprob": ((list, tuple), ()),
    "return_text_in_logprobs": (bool, False),
    "rid": (str, ""),
    "priority": (int, 0),
    "timeout_s": ((int, float), None),
    "namespace": (str, ""),
    "custom_logit_processor": (str, None),
    "return_hidden_states": (bool, False),
}
SAMPLING = frozenset({*SamplingParams.__struct_fields__, *ALIASES})
"""Keywords that belong to the sampling parameters."""
LATER = {"image_data": "pictures", "lora_path": "adapters", "session_params": "sessions", "modalities": "other media than text"}
"""Options of the reference that are not built yet: only None is taken."""


@dataclass(frozen=True)
class Batch:
    """Requests in order, the `n` samples of a prompt side by side."""

    requests: list[Request]
    with_text: list[bool]
    """Whether log-probabilities carry the token's text."""
    counts: list[int]
    """Samples of each prompt."""
    is_one: bool

    def shape(self, results: list[dict[str, Any]]) -> Any:
        """One result, or a list with one per prompt; a prompt with several samples has a list of its own."""
        shaped, at = [], 0
        for count in self.counts:
            shaped.append(results[at] if count == 1 else results[at : at + count])
            at += count
        return shaped[0] if self.is_one else shaped

    def chunk(self, result: dict[str, Any], i: int) -> dict[str, Any]:
        return result if len(self.requests) == 1 else result | {"index": i}


def make_batch(
    prompt: Any, input_ids: Any, sampling_params: Any, options: dict[str, Any], encode: Callable[[str], tuple[int, ...]],
    limit: Callable[[tuple[int, ...], SamplingParams], tuple[int, ...]], seeds: random.Random,
) -> Batch:  # fmt: skip
    for name, value in options.items():
        if name in LATER and value is not None:
            raise NotSupported(f"{name}: {LATER[name]} are not available yet", hint="leave it out, or give None")
        if name not in OPTIONS and name not in SAMPLING and name not in LATER:
            raise UnknownParameter(name, [*OPTIONS, *SAMPLING], where="generate")
    is_one, items = _items(prompt, input_ids)
    keywords = {name: value for name, value in options.items() if name in SAMPLING and value is not None}
    many_params = isinstance(sampling_params, (list, tuple))
    params = [
        SamplingParams.make(_merged(p, keywords))
        for p in _spread("sampling_params", sampling_params if many_params else [sampling_params] * len(items), len(items))
    ]
    values = [_options(options, i, len(items), is_one) for i in range(len(items))]
    requests, with_text = [], []
    for item, param, chosen in zip(items, params, values, strict=True):
        ids = encode(item) if isinstance(item, str) else _token_ids("input_ids", item)
        rid = chosen["rid"] or uuid.uuid4().hex[:12]
        seed = seeds.getrandbits(63) if param.seed is None else param.seed
        for j in range(param.n):
            requests.append(
                Request(
                    rid=rid if param.n == 1 else f"{rid}-{j}", group="" if param.n == 1 else rid,
                    input_ids=limit(ids, param), params=param,
                    seed=(seed + j * SAMPLE_SEED_STEP) % (1 << 63), return_logprob=chosen["return_logprob"],
                    logprob_start_len=chosen["logprob_start_len"], top_logprobs_num=chosen["top_logprobs_num"],
                    token_ids_logprob=_token_ids("token_ids_logprob", chosen["token_ids_logprob"]), namespace=chosen["namespace"],
                    priority=chosen["priority"], timeout_s=chosen["timeout_s"],
                    custom_logit_processor=chosen["custom_logit_processor"],
                    return_hidden_states=chosen["return_hidden_states"],
                )
            )  # fmt: skip
            with_text.append(chosen["return_text_in_logprobs"])
    return Batch(requests, with_text, [param.n for param in params], is_one)


def _items(prompt: Any, input_ids: Any) -> tuple[bool, list[Any]]:
    """(was one prompt given, the prompts)"""
    if (prompt is None) == (input_ids is None):
        given = "neither prompt nor input_ids is given" if prompt is None else "prompt and input_ids are both given"
        raise InvalidRequest.because("prompt", given, hint="give either prompt or input_ids")
    if isinstance(prompt, str):
        return True, [prompt]
    if prompt is not None:
        _check_texts(prompt)
        return False, list(prompt)
    ids = _listed(input_ids)
    if not isinstance(ids, (list, tuple)):
        raise InvalidRequest("input_ids", ids, "a list of token ids, or a list of such lists")
    ids = [_listed(item) for item in ids]
    nested = bool(ids) and all(isinstance(item, (list, tuple)) for item in ids)
    return not nested, ids if nested else [ids]


def _merged(params: Any, keywords: Mapping[str, Any]) -> Any:
    """The sampling parameters and those that were given as keywords. A name that both have is an error."""
    if not keywords:
        return params
    if isinstance(params, SamplingParams):
        default = SamplingParams()
        changed = (name for name in params.__struct_fields__ if getattr(params, name) != getattr(default, name))
        params = {name: getattr(params, name) for name in changed}
    if params is not None and not isinstance(params, Mapping):
        return params  # `SamplingParams.make` says what is wrong with it
    given = {ALIASES.get(name, name) for name, value in (params or {}).items() if value is not None}
    for name in keywords:
        if ALIASES.get(name, name) in given:
            raise InvalidRequest.because(name, f"{name} is given as a keyword and in sampling_params", hint="keep one of them")
    return {**(params or {}), **keywords}


def _check_texts(prompt: Any) -> None:
    is_list = isinstance(prompt, (list, tuple))
    items = prompt if is_list else [prompt]
    if is_list and all(isinstance(item, str) for item in items):
        return
    if all(isinstance(item, Mapping) and "role" in item for item in items):
        raise InvalidRequest.because(
            "prompt", "prompt is a conversation, generate continues text", hint="engine.chat(messages) answers a conversation"
        )
    if hasattr(prompt, "tolist") or isinstance(prompt, Mapping) or (is_list and all(isinstance(item, int) for item in items)):
        raise InvalidRequest.because("prompt", "prompt is token ids, not text", hint="generate(input_ids=...) takes these")
    raise InvalidRequest("prompt", prompt, "a string or a list of strings")


def _listed(value: Any) -> Any:
    """Token ids as plain lists: of tensors and arrays, and of what a tokenizer returns, without its padding."""
    if isinstance(value, Mapping) and "input_ids" in value:
        ids, mask = _listed(value["input_ids"]), _listed(value.get("attention_mask"))
        return ids if mask is None else _unpadded(ids, mask)
    if hasattr(value, "ids") and hasattr(value, "attention_mask"):  # an `Encoding` of tokenizers
        return _unpadded(value.ids, value.attention_mask)
    return value.tolist() if hasattr(value, "tolist") else value


def _unpadded(ids: Any, mask: Any) -> Any:
    if ids and isinstance(ids[0], (list, tuple)):
        return [_unpadded(row, of_row) for row, of_row in zip(ids, mask, strict=True)]
    return [token for token, is_there in zip(ids, mask, strict=True) if is_there]


def _token_ids(field: str, ids: Any) -> tuple[int, ...]:
    return tuple(as_int(field, token) for token in ids)


def _options(options: dict[str, Any], i: int, count: int, is_one: bool) -> dict[str, Any]:
    """The options of prompt `i`: a list holds one value per prompt, anything else holds for all."""
    chosen = {}
    for name, (kind, default) in OPTIONS.items():
        value = options.get(name)
        nested = (
            name == "token_ids_logprob"
            and isinstance(value, (list, tuple))
            and value
            and isinstance(value[0], (list, tuple, type(None)))
        )
        if not is_one and isinstance(value, (list, tuple)) and (name != "token_ids_logprob" or nested):
            value = _spread(name, value, count)[i]
        elif name == "rid" and value is not None and count > 1:
            raise InvalidRequest("rid", value, f"a list of {count} ids, one per prompt")
        if value is None:
            value = default
        elif not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            wanted = " or ".join(k.__name__ for k in kind) if isinstance(kind, tuple) else kind.__name__.lower()
            raise InvalidRequest(name, value, f"of type {wanted}")
        elif kind in (int, (int, float)) and isinstance(value, int):
            value = as_int(name, value)
        chosen[name] = value
    return chosen


def _spread(name: str, values: Sequence[Any], count: int) -> Sequence[Any]:
    if len(values) != count:
        message = f"{name} has {len(values)} value{'s' * (len(values) != 1)} for {count} prompt{'s' * (count != 1)}"
        raise InvalidRequest.because(name, message, hint="give one value for all, or a list with one per prompt")
    return values
