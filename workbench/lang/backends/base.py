"""`Backend`: the contract between programs and what runs them. To write one, subclass it, set `features`, write `generate`.

    class Echo(Backend):
        name = "Echo"
        features = frozenset({"completion"})
        params = frozenset({"max_new_tokens"})

        def generate(self, call: GenerateCall) -> Iterator[Piece]:
            yield Piece(call.prompt.plain_text, meta_info={"finish_reason": {"type": "stop", "matched": None}})

Before any call, `check` compares it with `features` and `params` and raises `BackendLacks` for the first thing the
backend cannot do, so `generate` and `select` only meet calls they declared to understand. Nothing is dropped in silence:
a parameter that is not in `params` is an error, not a default.

Rules for all methods:

- They are called from many threads at once. Keep what one call needs in local variables.
- Errors are `WorkbenchError`s with what to do next (`hint`). `BackendFailed` is for what went wrong on the other side: an
  unreachable server, a refused key, a stream that broke off; exceptions of a vendor's package are translated to it, the
  original as `__cause__`. The interpreter adds the line of the program.
- A vendor's package is imported inside the backend's constructor, never at the top of the module; when it is missing the
  constructor raises `ImportError` with the command that installs the extra.
- `abort(rid)` must end a call that is under way. Register how with `self.abortable(rid, close)` around the reading:

        with client.stream(...) as stream, self.abortable(call.rid, stream.close):
            for chunk in stream:
                yield Piece(chunk.text)

  Therefore read a stream from the wire wherever the vendor has one, also when `call.is_streamed` is False. Once a call is
  aborted the interpreter drops whatever its iterator still yields or raises.

What a vendor's name needs to become public: its class here in a file of its own, and a line in `workbench.__init__`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from workbench.errors import BackendLacks
from workbench.events import EventLog
from workbench.lang.choices import token_length_normalized
from workbench.lang.nodes import ChoicesMethod, Image, OptionTokens, Score, Video
from workbench.lang.prompt import Prompt
from workbench.types import GRAMMAR_FIELDS, SamplingParams

Feature = Literal[
    "completion",  # continue plain text: a prompt without roles
    "chat",  # a prompt with roles
    "prefill",  # the open assistant message has text before the generation
    "any role",  # the model writes in a role other than assistant, or outside roles in a conversation
    "image",
    "video",
    "regex",
    "json_schema",
    "ebnf",
    "grammar",  # in the style of Lark
    "json_object",  # any JSON object
    "structural_tag",
    "choices",  # a list of texts as a constraint
    "dtype",  # gen(dtype=...), gen_int, gen_string
    "select",
    "choices_method",  # a method other than the default is honoured
    "logprobs",  # return_logprob and its companions
    "n",  # several samples of one prompt
    "tools",
    "flush_cache",
    "get_server_info",
]
FEATURES = frozenset(get_args(Feature))
ALL_PARAMS = frozenset(SamplingParams.__struct_fields__) - {*GRAMMAR_FIELDS, "n"}
"""Every sampling parameter that is not a feature of its own."""


@dataclass(frozen=True, kw_only=True)
class GenerateCall:
    """One generation."""

    rid: str
    """The request's id, unique; the program view links to it. Pass it on where the other side takes one."""
    prompt: Prompt
    """Plain text to continue (`prompt.has_roles` is False; `prompt.plain_text`), or a conversation (`prompt.turns`,
    `prompt.messages`). In a conversation the last turn may be open (`is_open`): the output continues it, so a chat API
    sends the turns before it, and a text the open turn already holds is a prefill."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters that the program gave, by the names of `SamplingParams` (`max_new_tokens`, `stop`, `temperature`,
    `regex`, ...), checked and of their types (`stop` a tuple, `json_schema` a JSON text). Others are left to the backend."""
    logprobs: Mapping[str, Any] = field(default_factory=dict)
    """Not empty only with the feature "logprobs": `return_logprob`, `top_logprobs_num`, ..."""
    dtype: type | None = None
    """int, float, str or bool: the output is a Python literal of the type. The backend chooses how to make sure."""
    is_streamed: bool = False
    """The text has a reader: yield it as it comes. Otherwise one piece at the end is enough."""

    @property
    def sampling(self) -> SamplingParams:
        """`params` with the native defaults (128 tokens, temperature 1) filled in."""
        return SamplingParams.make(self.params)


@dataclass(frozen=True, slots=True)
class Piece:
    """New text of one generation, after the pieces before it. With `n` samples each has its `index` and its own pieces."""

    text: str
    index: int = 0
    meta_info: Mapping[str, Any] | None = None
    """On the last piece of a sample, and only there, what is known of: `id`, `prompt_tokens`, `completion_tokens`,
    `cached_tokens`, `finish_reason` (`{"type": "stop", "matched": "\\n"}`, `{"type": "length", "length": 16}`),
    `model`, and the log-probability lists of the native API (`input_token_logprobs`, `output_token_logprobs`,
    `output_top_logprobs`: entries `[logprob, token id or None, text or None]`). A number that the vendor does not report
    is left out, never guessed."""


@dataclass(frozen=True, kw_only=True)
class SelectCall:
    """A choice between texts that could follow the prompt."""

    rid: str
    prompt: Prompt
    choices: tuple[str, ...]
    """At least one, all different; one may be the beginning of another, and none is empty."""
    method: ChoicesMethod
    """Only a backend with the feature "choices_method" is asked with another than `token_length_normalized`."""
    temperature: float = 0.0
    """0 takes the best option. The backends that score options refuse other values."""


@dataclass(frozen=True)
class Selection:
    """A choice. `scores` and `options` stay empty where a backend has a procedure of its own."""

    index: int
    scores: tuple[Score, ...] = ()
    options: tuple[OptionTokens, ...] = ()
    meta_info: Mapping[str, Any] = field(default_factory=dict)
    """`id`, and over all requests that were needed: `prompt_tokens`, `cached_tokens`, `completion_tokens`, `num_requests`."""


class Backend:
    """A runner of programs. Override `generate`, and the methods that `features` promises."""

    name: str = "this backend"
    """As users write it; errors name it."""
    model: str = ""
    """The model it talks to, for the program view."""
    features: frozenset[Feature] = frozenset()
    """Features that it has. May be set per instance, if they depend on the server."""
    params: frozenset[str] = frozenset({"max_new_tokens", "temperature", "top_p", "stop"})
    """Names of `SamplingParams` that it honours, apart from constraints and `n`, which are features."""
    writes_ahead: bool = False
    """A call costs more than its tokens, so that a program may ask for several generations in one (`num_api_spec_tokens`)."""

    def __init__(self, log: EventLog | None = None) -> None:
        self.log = log if log is not None else EventLog()
        """Where the events of programs go; the in-process engine's own log where there is one."""
        self._closers: dict[str, Callable[[], None]] = {}
        self._aborted: set[str] = set()
        self._lock = threading.Lock()

    # -- what programs ask --------------------------------------------------------------------------------------

    def generate(self, call: GenerateCall) -> Iterator[Piece]:
        """Yields the text as it comes and, as the last piece of every sample, one with `meta_info`.

        Raises a `WorkbenchError` for what went wrong; text that was yielded before stays in the program's state.
        """
        raise NotImplementedError

    def select(self, call: SelectCall) -> Selection:
        """Returns the likeliest of `call.choices` after the prompt. Raises BackendLacks without the feature "select"."""
        raise BackendLacks(self.name, "select")

    def warm(self, prompt: Prompt) -> Mapping[str, Any] | None:
        """Computes `prompt` once, because several calls will begin with it. Returns the native `meta_info`
        (`prompt_tokens`, `cached_tokens`) or None if there is nothing to do, as here."""
        return None

    def text_of(self, prompt: Prompt) -> str:
        """Returns the prompt as the model reads it, `state.text()`. Override it to render the chat template yourself."""
        return prompt.plain_text

    def flush_cache(self) -> None:
        """Drops cached prefixes. Raises BackendLacks without the feature "flush_cache"."""
        raise BackendLacks(self.name, "flush_cache")

    def get_server_info(self) -> dict[str, Any]:
        """Returns facts about the server or engine. Raises BackendLacks without the feature "get_server_info"."""
        raise BackendLacks(self.name, "get_server_info")

    def abort(self, rid: str) -> None:
        """Ends a call soon, from any thread. Ids that are not open yet end as soon as they open; twice is the same as once."""
        with self._lock:
            self._aborted.add(rid)
            close = self._closers.get(rid)
        if close is not None:
            close()

    # -- what subclasses use ------------------------------------------------------------------------------------

    @contextmanager
    def abortable(self, rid: str, close: Callable[[], None]) -> Iterator[None]:
        """Registers a call: while inside, `abort(rid)` calls `close`, which must make the reading end or fail, on any thread."""
        with self._lock:
            self._closers[rid] = close
            is_late = rid in self._aborted
        if is_late:
            close()
        try:
            yield
        finally:
            with self._lock:
                del self._closers[rid]
                self._aborted.discard(rid)

    def check(self, call: GenerateCall | SelectCall) -> None:
        """Raises `BackendLacks` for the first thing in `call` that is not in `features` or `params`."""
        for feature in needed_features(call):
            if feature not in self.features:
                raise BackendLacks(self.name, feature)
        if isinstance(call, GenerateCall):
            unknown = sorted(call.params.keys() - self.params - {*GRAMMAR_FIELDS, "n"})
            if unknown:
                raise BackendLacks(self.name, unknown[0], hint=f"parameters it takes: {', '.join(sorted(self.params))}")


def needed_features(call: GenerateCall | SelectCall) -> list[Feature]:
    """Returns the features that this call needs, the plainest first."""
    prompt = call.prompt
    needed: list[Feature] = ["chat" if prompt.has_roles else "completion"]
    if prompt.has_roles and prompt.open_role != "assistant":
        needed.append("any role")
    elif prompt.has_roles and prompt.turns[-1].parts:
        needed.append("prefill")
    kinds: dict[Feature, type] = {"image": Image, "video": Video}
    needed += [feature for feature, kind in kinds.items() if any(isinstance(part, kind) for part in prompt.media)]
    if isinstance(call, SelectCall):
        own: list[Feature] = ["choices_method"] if call.method is not token_length_normalized else []
        return [*needed, "select", *own]
    needed += [name for name in GRAMMAR_FIELDS if name in call.params]
    wants: dict[Feature, Any] = {
        "dtype": call.dtype, "logprobs": call.logprobs, "n": call.params.get("n", 1) > 1, "tools": prompt.tools
    }  # fmt: skip
    return needed + [feature for feature, wanted in wants.items() if wanted]
