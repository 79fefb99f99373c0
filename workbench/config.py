"""`ServerArgs`: one definition for the command line, the `Engine` keywords, `%wb load` and the reference page.

Names are the reference's (section M of the checklist). A value that says "auto" is settled once, in
`workbench.launch`, which knows the machine and the model; nothing edits a configuration afterwards.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workbench import later
from workbench.errors import InvalidRequest, NotSupported, UnknownParameter
from workbench.types import as_float, as_int

MAX_THREADS = 1024
"""More ends the process: the operating system refuses, and OpenMP does not survive that."""
DEFAULT_MODEL = "smollm2-135m"


def home() -> Path:
    """Where models and compiled kernels are kept: WORKBENCH_HOME, else ~/.cache/workbench."""
    return Path(os.environ.get("WORKBENCH_HOME") or "~/.cache/workbench").expanduser().absolute()


def _arg(default: Any, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True, kw_only=True)
class ServerArgs:
    model_path: str = _arg(
        DEFAULT_MODEL, "alias, Hugging Face id (org/name, org/name@revision), folder or GGUF file", aliases=("--model",)
    )
    tokenizer_path: str | None = _arg(None, "tokenizer folder or id; the model's own when not given")
    tokenizer_mode: Literal["auto"] = _arg("auto", "the fast tokenizer; there is no other")
    skip_tokenizer_init: bool = _arg(False, "token ids in, token ids out; no text, no stop strings, no grammars")
    load_format: Literal["auto", "safetensors", "gguf", "dummy"] = _arg(
        "auto", "dummy makes seeded random weights from config.json"
    )
    trust_remote_code: bool = _arg(False, "allow code from a model repository in tokenizers and configs")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "half"] = _arg(
        "auto", "weights and activations; auto is bfloat16 where the device multiplies it natively, else float32"
    )
    kv_cache_dtype: Literal["auto", "float32", "bfloat16", "float16"] = _arg("auto", "keys and values; auto follows dtype")
    context_length: int | None = _arg(None, "longest request in tokens, prompt and output; the model's own when not given")
    device: Literal["auto", "cpu", "cuda"] = _arg("auto", "auto is cuda where a GPU is present, else cpu")
    chat_template: str | None = _arg(None, "path of a .jinja file that replaces the tokenizer's chat template")
    revision: str | None = _arg(None, "version of a hub model: a branch, tag or commit")
    json_model_override_args: str = _arg("{}", "JSON object whose keys override the model's config.json")
    download_dir: str | None = _arg(None, "where models are kept in place of WORKBENCH_HOME/models")
    mem_fraction_static: float | None = _arg(
        None,
        "fraction of free memory for weights and KV pool (cuda: 0.9); on a CPU what the KV pool may grow to (0.25)",
    )
    max_total_tokens: int | None = _arg(None, "KV pool size in tokens; found from the memory when not given")
    max_running_requests: int | None = _arg(None, "requests in the batch at once; found from the pool when not given")
    max_queued_requests: int | None = _arg(None, "waiting requests above which a new one is refused; no limit when not given")
    chunked_prefill_size: int | None = _arg(
        None, "tokens per prefill chunk; -1 never cuts; 1024 on a CPU, 8192 on a GPU when not given"
    )
    max_prefill_tokens: int = _arg(
        16384, "new tokens in one prefill step, over all its requests; at least the context length counts"
    )
    page_size: int = _arg(1, "tokens per KV page; prefixes are shared in whole pages")
    schedule_policy: str = _arg("lpm", "order of the waiting queue: lpm, fcfs, dfs-weight, lof, random")
    eviction_policy: str = _arg("lru", "which unused leaf leaves the tree first: lru, lfu, fifo")
    schedule_conservativeness: float = _arg(1.0, "above 1 admits fewer requests and retracts less, below 1 the opposite")
    prefill_only_one_req: bool = _arg(False, "at most one request in a prefill step")
    enable_mixed_chunk: bool = _arg(False, "prefill chunks and decode tokens in one step")
    disable_radix_cache: bool = _arg(False, "keep and share no prefixes; enable_radix_cache=False is the same")
    allow_auto_truncate: bool = _arg(False, "cut over-long prompts to the longest that fits instead of refusing them")
    stream_interval: int = _arg(1, "tokens between streamed chunks")
    random_seed: int | None = _arg(None, "seed for requests that give none; drawn at start when not given")
    attention_backend: Literal["auto", "torch", "reference"] = _arg("auto", "auto is torch; reference is the plain, slow oracle")
    sampling_backend: Literal["auto", "pytorch"] = _arg("auto", "pytorch is the only one")
    grammar_backend: Literal["xgrammar", "outlines"] = _arg(
        "xgrammar", "compiles constraints; outlines knows regex, choices and JSON schemas without recursion"
    )
    grammar_compile_workers: int = _arg(2, "child processes that compile constraints; they start when there is work for them")
    grammar_compile_timeout_s: float = _arg(30.0, "a constraint that takes longer to compile is an error")
    grammar_compile_memory_mb: int = _arg(2048, "a constraint that takes more memory to compile is an error")
    constrained_json_whitespace_pattern: str | None = _arg(
        None, "outlines: a regex for the white space between two parts of a JSON text; fixed separators when not given"
    )
    disable_outlines_disk_cache: bool = _arg(
        False, "outlines: keep no automata under WORKBENCH_HOME (512 MB, then the least recently used leave)"
    )
    disable_jump_forward: bool = _arg(False, "decode token by token where a constraint leaves one continuation")
    enable_custom_logit_processor: bool = _arg(False, "allow requests to bring Python code that runs with the engine's rights")
    enable_nan_detection: bool = _arg(
        False, "warn of NaN in logits and draw other tokens; without it NaN ends its request with an error"
    )
    return_hidden_states: bool = _arg(False, "every request returns hidden states; a request may ask for them by itself")
    num_threads: int | None = _arg(None, "CPU threads for the forward pass; torch's own choice when not given")
    event_log_size: int = _arg(200_000, "events kept for views and explanations; 0 records nothing")
    decode_log_interval: int = _arg(40, "steps between two progress lines on the log (level info)")
    log_level: Literal["debug", "info", "warning", "error"] = _arg("warning", "verbosity of the `workbench` logger")
    log_requests: bool = _arg(False, "log the inputs and outputs of every request")
    show_time_cost: bool = _arg(False, "log how long loading took")

    @classmethod
    def make(cls, **values: Any) -> ServerArgs:
        """From keywords; an unknown name and a value of the wrong type are errors that say what is possible.

        None means the default. Names of the reference that are not built yet: `workbench.later`.
        """
        known = {f.name: f for f in dataclasses.fields(cls)}
        clean = {}
        for name, value in _radix_cache_once(values).items():
            if later.is_accounted_for(name, value):
                continue
            if name not in known:
                raise UnknownParameter(name, known, where="the engine")
            if value is not None:
                clean[name] = _checked(name, value, _hints(cls)[name])
        return cls(**clean)

    def __post_init__(self) -> None:
        for name in ("context_length", "max_total_tokens", "max_running_requests", "page_size", "stream_interval", "num_threads",
                     "decode_log_interval"):  # fmt: skip
            _at_least(name, getattr(self, name), 1)
        if self.num_threads is not None and self.num_threads > MAX_THREADS:
            raise InvalidRequest("num_threads", self.num_threads, f"at most {MAX_THREADS}")
        _at_least("grammar_compile_workers", self.grammar_compile_workers, 1)
        _at_least("grammar_compile_memory_mb", self.grammar_compile_memory_mb, 128)
        if not 0 < self.grammar_compile_timeout_s < float("inf"):
            raise InvalidRequest("grammar_compile_timeout_s", self.grammar_compile_timeout_s, "above 0 seconds and finite")
        if self.constrained_json_whitespace_pattern is not None and self.grammar_backend != "outlines":
            raise NotSupported(
                "constrained_json_whitespace_pattern needs grammar_backend outlines",
                hint="with xgrammar a request says max_whitespace",
            )
        _at_least("max_queued_requests", self.max_queued_requests, 0)
        _at_least("event_log_size", self.event_log_size, 0)
        _at_least("max_prefill_tokens", self.max_prefill_tokens, 1)
        if self.chunked_prefill_size is not None and self.chunked_prefill_size != -1:
            _at_least("chunked_prefill_size", self.chunked_prefill_size, 1)
        if not 0 < self.schedule_conservativeness < float("inf"):
            raise InvalidRequest("schedule_conservativeness", self.schedule_conservativeness, "above 0 and finite")
        if self.mem_fraction_static is not None and not 0 < self.mem_fraction_static < 1:
            raise InvalidRequest("mem_fraction_static", self.mem_fraction_static, "between 0 and 1")
        try:
            override = json.loads(self.json_model_override_args)
        except (ValueError, RecursionError) as error:  # ValueError: also an integer of thousands of digits
            raise InvalidRequest("json_model_override_args", self.json_model_override_args, f"a JSON object ({error})") from None
        if not isinstance(override, dict):
            raise InvalidRequest("json_model_override_args", self.json_model_override_args, "a JSON object")

    @classmethod
    def add_cli_args(cls, parser: argparse.ArgumentParser) -> None:
        """One flag per field, spelled with dashes; argparse's own prefix matching gives the reference's short forms."""
        for f in dataclasses.fields(cls):
            kind = _hints(cls)[f.name]
            flags = [f"--{f.name.replace('_', '-')}", *f.metadata.get("aliases", ())]
            help = f"{f.metadata['help']} (default: {f.default})".replace("%", "%%")
            if kind is bool:
                parser.add_argument(*flags, dest=f.name, action="store_true", default=argparse.SUPPRESS, help=help)
            else:
                base, choices = _base_type(kind)
                parser.add_argument(*flags, dest=f.name, type=base, choices=choices, default=argparse.SUPPRESS, help=help)
        later.add_cli_args(parser)

    @classmethod
    def from_cli_args(cls, namespace: argparse.Namespace) -> ServerArgs:
        names = {f.name for f in dataclasses.fields(cls)} | later.LATER.keys() | later.NO_EFFECT
        return cls.make(**{name: value for name, value in vars(namespace).items() if name in names})

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _radix_cache_once(values: Mapping[str, Any]) -> dict[str, Any]:
    """`enable_radix_cache` has an opposite, which is the field."""
    rest = dict(values)
    on, off = rest.pop("enable_radix_cache", None), rest.get("disable_radix_cache")
    if on is None:
        return rest
    if not isinstance(on, bool):
        raise InvalidRequest("enable_radix_cache", on, "True or False")
    if off is on:
        raise InvalidRequest("enable_radix_cache", on, f"the opposite of disable_radix_cache={off}", hint="keep one of them")
    return rest | {"disable_radix_cache": not on}


def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _base_type(kind: Any) -> tuple[type, tuple[Any, ...] | None]:
    """(type of the value, allowed values): `int | None` -> (int, None), `Literal["a", "b"]` -> (str, ("a", "b"))."""
    if isinstance(kind, types.UnionType):
        kind = next(arg for arg in typing.get_args(kind) if arg is not type(None))
    if typing.get_origin(kind) is Literal:
        return str, typing.get_args(kind)
    return kind, None


def _checked(name: str, value: Any, kind: Any) -> Any:
    base, choices = _base_type(kind)
    if choices is not None:
        if value in choices:
            return value
        raise InvalidRequest(name, value, f"one of {', '.join(map(repr, choices))}")
    if base is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return as_float(name, value)
    elif base is int and isinstance(value, int) and not isinstance(value, bool):
        return as_int(name, value)
    elif name == "json_model_override_args" and isinstance(value, Mapping):
        try:
            return json.dumps(dict(value))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(name, value, f"what JSON can hold ({error})") from None
    elif base is str and hasattr(value, "__fspath__"):
        return value.__fspath__()
    elif isinstance(value, base) and (base is bool or not isinstance(value, bool)):
        return value
    raise InvalidRequest(name, value, f"of type {base.__name__}")


def _at_least(name: str, value: int | None, low: int) -> None:
    if value is not None and value < low:
        raise InvalidRequest(name, value, f"at least {low}")
