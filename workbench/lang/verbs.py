"""The verbs of the language. Each checks its arguments, so that an error has the line of the mistake, and returns nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Unpack

from workbench.checks import both_names
from workbench.errors import InvalidRequest, ProgramMistake, UnknownParameter
from workbench.lang.choices import token_length_normalized
from workbench.lang.nodes import ChoicesMethod, Expr, Gen, Image, ProgramNode, RoleBegin, RoleEnd, Select, Seq, Video, flatten
from workbench.lang.options import GenOptions, LiteralOptions
from workbench.lang.tools import function_of
from workbench.native.options import Schema
from workbench.signature import takes
from workbench.types import ALIASES, GRAMMAR_FIELDS, SamplingParams, is_ggml_bnf

DTYPES = {int: int, float: float, str: str, bool: bool, "int": int, "float": float, "str": str, "string": str, "bool": bool}
SAMPLING = (
    "max_tokens", "min_tokens", "stop", "stop_token_ids", "temperature", "top_p", "top_k", "min_p", "frequency_penalty",
    "presence_penalty", "repetition_penalty", "ignore_eos", "skip_special_tokens", "seed", "n", "logit_bias", "max_whitespace",
)  # fmt: skip
LOGPROBS: dict[str, type] = {
    "return_logprob": bool, "logprob_start_len": int, "top_logprobs_num": int, "return_text_in_logprobs": bool,
}  # fmt: skip
"""Options of `gen` beside its sampling parameters; `run` takes both as defaults for the program's generations."""
CONSTRAINTS: tuple[str, ...] = tuple(name for name in GRAMMAR_FIELDS if name != "choices")


class Picture(Protocol):
    """A PIL image."""

    mode: str

    def save(self, fp: Any, format: str | None = None) -> None: ...


@takes(GenOptions)
def gen(
    name: str | None = None,
    max_tokens: int | None = None,
    *,
    stop: str | Sequence[str] | None = None,
    temperature: float | None = None,
    regex: str | None = None,
    json_schema: Schema | None = None,
    ebnf: str | None = None,
    grammar: str | None = None,
    json_object: bool | None = None,
    structural_tag: str | Mapping[str, Any] | None = None,
    dtype: type | str | None = None,
    choices: Sequence[str] | None = None,
    choices_method: ChoicesMethod | None = None,
    n: int | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    **more: Unpack[GenOptions],
) -> ProgramNode:
    """Returns a part of the prompt that the model writes; read its text as `s["name"]`.

    At most one constraint: `regex`, `json_schema` (a dict, JSON text or a Pydantic model), `ebnf`, `grammar`
    (in the style of Lark, or of `ebnf` where it contains `::=`), `json_object=True`, `structural_tag` (free text with
    constrained regions), `dtype` (int, float, str, bool) or `choices`. `tools`: descriptions of functions that the model may
    call (`name`, `description`, `parameters`), written by its chat template or by `workbench.lang.tools`.
    More parameters: `min_tokens`, `top_p`, `top_k`, `min_p`, `stop_token_ids`,
    `frequency_penalty`, `presence_penalty`, `repetition_penalty`, `ignore_eos`, `skip_special_tokens`, `seed`,
    `logit_bias`, `max_whitespace`, `return_logprob`, `top_logprobs_num`, `logprob_start_len`, `return_text_in_logprobs`.
    An option that is not given is left to `run(...)`, and then to the backend.

    Raises ProgramMistake for options that exclude each other, UnknownParameter for unknown ones, InvalidRequest for values.
    """
    constraints = {
        "regex": regex,
        "json_schema": json_schema,
        "ebnf": ebnf,
        "grammar": grammar,
        "json_object": json_object or None,
        "structural_tag": structural_tag,
        "dtype": dtype,
        "choices": choices,
    }
    given = [key for key, value in constraints.items() if value is not None]
    if len(given) > 1:
        raise ProgramMistake(
            f"{' and '.join(given)} are given together: a generation has one constraint", hint="keep one of them"
        )
    if choices is not None:
        _refuse_with_choices(more)
        return select(name, choices, temperature=temperature or 0.0, choices_method=choices_method)
    if choices_method is not None:
        raise ProgramMistake("choices_method is given without choices", hint='gen(choices=["yes", "no"], choices_method=...)')
    given_params = {"max_tokens": max_tokens, "stop": stop, "temperature": temperature, "n": n, **constraints, **more}
    params, logprobs = call_params({key: value for key, value in given_params.items() if key not in ("dtype", "choices")}, "gen")
    if dtype is not None and dtype not in DTYPES:
        raise InvalidRequest("dtype", dtype, "int, float, str or bool", hint="other forms: regex=, json_schema= or ebnf=")
    return Gen(_name(name), params, logprobs, None if dtype is None else DTYPES[dtype], _tools(tools))


@takes(LiteralOptions)
def gen_int(name: str | None = None, max_tokens: int | None = None, **more: Unpack[LiteralOptions]) -> ProgramNode:
    """Returns a `gen` whose text is an integer: `int(s["name"])`. Raises what `gen` raises."""
    return gen(name, max_tokens, dtype=int, **more)


@takes(LiteralOptions)
def gen_string(name: str | None = None, max_tokens: int | None = None, **more: Unpack[LiteralOptions]) -> ProgramNode:
    """Returns a `gen` whose text is a string in double quotes. Raises what `gen` raises."""
    return gen(name, max_tokens, dtype=str, **more)


def select(
    name: str | None = None,
    choices: Sequence[str] | None = None,
    temperature: float = 0.0,
    choices_method: ChoicesMethod | None = None,
) -> Select:
    """Returns a part of the prompt that is the likeliest of `choices`; read it as `s["name"]`.

    Raises InvalidRequest for choices that are not different strings of at least one character.
    """
    if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
        raise InvalidRequest("choices", choices, "a list of at least one string", hint='for example ["yes", "no"]')
    for choice in choices:
        if not isinstance(choice, str) or not choice:
            raise InvalidRequest("choices", choice, "strings of at least one character")
    if len(set(choices)) < len(choices):
        raise InvalidRequest("choices", list(choices), "strings that are all different", hint="name each option once")
    if choices_method is not None and not callable(choices_method):
        raise InvalidRequest("choices_method", choices_method, "one of the choices methods", hint="token_length_normalized, ...")
    return Select(_name(name), tuple(choices), choices_method or token_length_normalized, temperature)


def image(source: str | Path | bytes | Picture) -> Image:
    """Returns a picture: a path, a URL, base64 text, bytes or a PIL image. Raises InvalidRequest for anything else."""
    if not isinstance(source, str | Path | bytes) and not (hasattr(source, "save") and hasattr(source, "mode")):
        raise InvalidRequest(
            "image", source, "a path, a URL, base64 text, bytes or a PIL image", hint='for example image("cat.png")'
        )
    return Image(source)


def video(source: str | Path | bytes, num_frames: int = 8) -> Video:
    """Returns `num_frames` frames of a film, evenly spaced. Raises InvalidRequest for a number below 1."""
    if isinstance(num_frames, bool) or not isinstance(num_frames, int) or num_frames < 1:
        raise InvalidRequest("num_frames", num_frames, "an integer of at least 1")
    return Video(source, num_frames)


def role(name: str, expr: Expr) -> Seq:
    """Returns `expr` as a message of this role."""
    return Seq((RoleBegin(name), *flatten(expr), RoleEnd(name)))


def system(expr: Expr = "") -> Seq:
    """Returns `expr` as the system message. An empty one keeps a template from writing its own."""
    return role("system", expr)


def user(expr: Expr = "") -> Seq:
    """Returns `expr` as a message of the user."""
    return role("user", expr)


def assistant(expr: Expr = "") -> Seq:
    """Returns `expr`, usually with a `gen` in it, as a message of the model."""
    return role("assistant", expr)


def system_begin() -> RoleBegin:
    """Returns the beginning of a system message, which lasts until `system_end()`."""
    return RoleBegin("system")


def system_end() -> RoleEnd:
    """Returns the end of the message that `system_begin()` began."""
    return RoleEnd("system")


def user_begin() -> RoleBegin:
    """Returns the beginning of a message of the user, which lasts until `user_end()`."""
    return RoleBegin("user")


def user_end() -> RoleEnd:
    """Returns the end of the message that `user_begin()` began."""
    return RoleEnd("user")


def assistant_begin() -> RoleBegin:
    """Returns the beginning of a message of the model, which lasts until `assistant_end()`."""
    return RoleBegin("assistant")


def assistant_end() -> RoleEnd:
    """Returns the end of the message that `assistant_begin()` began."""
    return RoleEnd("assistant")


VERBS = (
    gen, select, gen_int, gen_string, image, video, system, user, assistant, system_begin, system_end, user_begin, user_end,
    assistant_begin, assistant_end,
)  # fmt: skip


def call_params(values: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the sampling parameters by native names, and the log-probability options; None means not given.

    Raises UnknownParameter for an unknown name, InvalidRequest for a wrong value. `where` names the verb in the error.
    """
    known = {*SAMPLING, *CONSTRAINTS, *LOGPROBS, *ALIASES.values()}
    for name, same in ALIASES.items():
        if values.get(name) is not None and values.get(same) is not None:
            raise both_names(name, same)
    native: dict[str, Any] = {}
    logprobs: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise UnknownParameter(name, known - {"max_new_tokens", "min_new_tokens"}, where=where)
        if value is None:
            continue
        if name in LOGPROBS:
            if type(value) is not LOGPROBS[name]:
                raise InvalidRequest(name, value, f"of type {LOGPROBS[name].__name__}")
            logprobs[name] = value
        else:
            is_ebnf = name == "grammar" and is_ggml_bnf(str(value))
            native["ebnf" if is_ebnf else ALIASES.get(name, name)] = value
    return _checked(native), {"return_logprob": True, **logprobs} if logprobs else {}


def _checked(native: dict[str, Any]) -> dict[str, Any]:
    """Returns the values as `SamplingParams` holds them. Minimum and maximum may come from different places."""
    low = native.get("min_new_tokens")
    alone = {} if low is None or "max_new_tokens" in native or not isinstance(low, int) else {"max_new_tokens": max(low, 0)}
    params = SamplingParams.make(native | alone)
    if params.json_schema is not None:
        try:
            json.loads(params.json_schema)
        except ValueError as error:
            raise InvalidRequest("json_schema", params.json_schema, f"JSON ({error})") from None
    return {name: getattr(params, name) for name in native}


def _refuse_with_choices(more: Mapping[str, Any]) -> None:
    known = {*SAMPLING, *CONSTRAINTS, *LOGPROBS}
    for name in more:
        if name not in known:
            raise UnknownParameter(name, known, where="gen")


def _tools(tools: Sequence[Mapping[str, Any]] | None) -> tuple[Mapping[str, Any], ...]:
    for tool in tools or ():
        if not isinstance(tool, Mapping) or not isinstance(function_of(tool).get("name"), str):
            raise InvalidRequest("tools", tool, "dicts with name, description and parameters (a JSON schema)")
    return tuple(tools or ())


def _name(name: object) -> str | None:
    if name is not None and (not isinstance(name, str) or not name):
        raise InvalidRequest("name", name, "text of at least one character, or nothing")
    return name
