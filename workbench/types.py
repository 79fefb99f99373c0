"""The values that cross rooms and processes: requests down, tokens up. Frozen msgspec Structs, so msgpack is free.

A value checks itself when it is made; what depends on the model (vocabulary, context) is checked by `EngineCore.add`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, get_args

import msgspec

from workbench.checks import MAX_FLOAT, MAX_INT, MIN_INT, READERS, as_float, both_names, check_between
from workbench.errors import InvalidRequest, UnknownParameter
from workbench.field_docs import documented

GrammarKind = Literal["json_schema", "regex", "ebnf", "json_object", "choices", "grammar", "structural_tag"]
GRAMMAR_FIELDS: tuple[GrammarKind, ...] = get_args(GrammarKind)
"""Fields of `SamplingParams` that are constraints. A request sets at most one."""
MAX_WHITESPACE = 1024
ALIASES = {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens"}
"""Second names of fields of `SamplingParams`, accepted wherever the first is."""


@documented
class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling parameters and stop conditions of one request, with the names and defaults of the reference."""

    max_new_tokens: int = 128
    """Most output tokens, at least 0; `max_tokens` is the same."""
    min_new_tokens: int = 0
    """Fewest output tokens, 0 to `max_new_tokens`: before them neither the end of text nor a stop token is drawn. Stop strings
    still end the text earlier. `min_tokens` is the same."""
    stop: tuple[str, ...] = ()
    """Strings that end the text. The text ends before them."""
    stop_token_ids: tuple[int, ...] = ()
    """Token ids that end the text, beside the model's own end of text."""
    temperature: float = 1.0
    """Divisor of the logits, at least 0. 0: always the likeliest token; above 1: flatter, below 1: sharper."""
    top_p: float = 1.0
    """Probability, above 0 and at most 1. A token is drawn from the smallest set of likeliest tokens that reaches it."""
    top_k: int = -1
    """Number of likeliest tokens to draw from, at least 1. -1: all."""
    min_p: float = 0.0
    """Fraction of the likeliest token's probability, 0 to 1. Less likely tokens are not drawn."""
    frequency_penalty: float = 0.0
    """Amount taken from a token's logit for each time it is in the output, -2 to 2. Below 0 repetition becomes likelier."""
    presence_penalty: float = 0.0
    """Amount taken from a token's logit once it is in the output, -2 to 2. Below 0 repetition becomes likelier."""
    repetition_penalty: float = 1.0
    """Penalty on tokens in prompt or output, above 0 and at most 2: positive logits are divided by it, negative ones multiplied.
    1: no effect; below 1 repetition becomes likelier."""
    ignore_eos: bool = False
    """Switch to continue after the model's end of text, until `max_new_tokens` or a stop."""
    skip_special_tokens: bool = True
    """Switch to leave special tokens (such as the end of text) out of the text."""
    spaces_between_special_tokens: bool = True
    """Option without effect: fast tokenizers write no spaces there."""
    n: int = 1
    """Samples of each prompt, 1 to 1024. Above 1 a prompt's result is a list."""
    seed: int | None = None
    """Seed of the draws, a 64-bit integer: the same seed gives the same tokens. None: drawn from the engine's `random_seed`."""
    logit_bias: dict[int, float] = {}
    """Amount added to the logit of each token id; inf and -inf force and forbid it."""
    json_schema: str | None = None
    """Constraint: JSON of this schema (JSON text, a dict, or a Pydantic model)."""
    regex: str | None = None
    """Constraint: a text that matches this regular expression as a whole."""
    ebnf: str | None = None
    """Constraint: a text of this grammar in GGML BNF; its start rule is `root`."""
    json_object: bool = False
    """Constraint: any JSON object. Any JSON value is `json_schema={}`."""
    choices: tuple[str, ...] = ()
    """Constraint: one of these texts."""
    grammar: str | None = None
    """Constraint: a text of this grammar in the style of Lark, or in that of `ebnf` if its first rule is (`root ::= ...`)."""
    structural_tag: str | None = None
    """Constraint: free text with constrained regions (JSON text, or a dict)."""
    max_whitespace: int = 0
    """Most white space characters between two parts of a JSON text, 0 to 1024. 0: separators are ", " and ": "."""
    custom_params: dict[str, Any] | None = None
    """Values for the request's custom logit processor."""

    @classmethod
    def make(cls, params: SamplingParams | Mapping[str, Any] | None) -> SamplingParams:
        """Returns the parameters of a dict: `stop` may be one string, `json_schema` a dict, ids may be strings; `ALIASES` hold.

        Raises UnknownParameter for an unknown name, InvalidRequest for a value of the wrong type or outside its range.
        """
        if params is None:
            return cls()
        if isinstance(params, cls):
            return params
        if not isinstance(params, Mapping):
            raise InvalidRequest("sampling_params", params, "a dict")
        known = cls.__struct_fields__
        values: dict[str, Any] = {}
        for given, value in params.items():
            name = ALIASES.get(given, given)
            if name not in known:
                raise UnknownParameter(str(given), known, where="sampling_params")
            if name != given and params.get(name) is not None:
                raise both_names(given, name)
            if value is not None:
                values[name] = READERS[name](name, value)
        return cls(**values)

    def __post_init__(self) -> None:
        check_between("max_new_tokens", self.max_new_tokens, 0)
        check_between("min_new_tokens", self.min_new_tokens, 0, self.max_new_tokens, "max_new_tokens")
        check_between("temperature", self.temperature, 0, top=MAX_FLOAT)
        check_between("top_p", self.top_p, 0, 1)
        if self.top_p == 0:
            raise InvalidRequest("top_p", self.top_p, "above 0 and at most 1", hint="for greedy decoding use temperature=0")
        if self.top_k != -1 and not 1 <= self.top_k <= MAX_INT:
            raise InvalidRequest("top_k", self.top_k, f"-1 (no limit) or at least 1, at most {MAX_INT}")
        check_between("min_p", self.min_p, 0, 1)
        check_between("frequency_penalty", self.frequency_penalty, -2, 2)
        check_between("presence_penalty", self.presence_penalty, -2, 2)
        check_between("repetition_penalty", self.repetition_penalty, 0, 2)
        if self.repetition_penalty == 0:
            raise InvalidRequest("repetition_penalty", 0, "above 0 and at most 2")
        check_between("n", self.n, 1, 1024)
        if self.seed is not None:
            check_between("seed", self.seed, MIN_INT)
        if "" in self.stop:
            raise InvalidRequest("stop", list(self.stop), "strings of at least one character")
        for bias in self.logit_bias.values():
            if math.isnan(as_float("logit_bias", bias)):
                raise InvalidRequest("logit_bias", bias, "a number")
        check_between("max_whitespace", self.max_whitespace, 0, MAX_WHITESPACE)
        given = [name for name in GRAMMAR_FIELDS if getattr(self, name) not in (None, False, ())]
        if len(given) > 1:
            message = f"{' and '.join(given)} are given together: a request has one constraint"
            raise InvalidRequest.because(given[1], message, hint="keep one of them")

    @property
    def is_greedy(self) -> bool:
        """True if the likeliest token is always taken."""
        return self.temperature == 0 or self.top_k == 1

    @property
    def has_penalties(self) -> bool:
        """True if a penalty changes logits."""
        return bool(self.frequency_penalty or self.presence_penalty or self.repetition_penalty != 1.0)

    @property
    def constraint(self) -> GrammarSpec | None:
        """The request's constraint; None if it has none."""
        for name in GRAMMAR_FIELDS:
            value = getattr(self, name)
            if value not in (None, False, ()):
                text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
                return GrammarSpec(name, text, self.max_whitespace if name in ("json_schema", "json_object") else 0)
        return None


class GrammarSpec(msgspec.Struct, frozen=True):
    """A constraint on the text: a hashable value, the key of every grammar cache."""

    kind: GrammarKind
    text: str
    """Text of the constraint as the user wrote it; `choices` as a JSON list."""
    max_whitespace: int = 0


def is_ggml_bnf(grammar: str) -> bool:
    """Returns whether a grammar begins, after comments, with a rule of GGML BNF (`root ::= ...`), not of Lark."""
    return _FIRST_RULE.match(grammar) is not None


_FIRST_RULE = re.compile(r"""(?:\s|#[^\n]*+|//[^\n]*+)*+[^\s:="'#/%]+\s*::=""")


class InputEmbeds(msgspec.Struct, frozen=True):
    """A prompt as embeddings, in the place of tokens."""

    data: bytes
    """float32 [num_tokens, width] in the machine's byte order."""
    width: int

    @property
    def num_tokens(self) -> int:
        """The number of places in the prompt."""
        return len(self.data) // (4 * self.width)


class Array(msgspec.Struct, frozen=True):
    """Numbers as a message has them."""

    data: bytes
    """The numbers in the machine's byte order, the last axis fastest."""
    dtype: str
    """Name of their type as numpy has it."""
    shape: tuple[int, ...]


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture or video of a prompt, processed as the model takes it, and its places among the tokens."""

    digest: str
    """Hash of the arrays and of all that the model makes of them: equal for equal pictures only."""
    arrays: dict[str, Array]
    """Arguments of the model's `see`, by name."""
    num_tokens: int
    """Number of vectors that the model makes of it, each in the place of one token."""
    places: tuple[tuple[int, int], ...] = ()
    """Runs of its tokens in the prompt, (first, count) in order; the counts add up to `num_tokens`."""
    is_whole: bool = False
    """True: its tokens attend to each other in both directions, so no chunk may end within one of its runs."""
    adapts: bool = False
    """True: all tokens of its prompt are computed by adapted weights, and share no K/V with a prompt without such a picture."""
    num_crossed: int = 0
    """Number of rows of keys and values that layers of cross attention have of it. Above 0 its one token is a word of the text,
    and the text behind it looks at the picture in these layers; 0: the model makes vectors in the places of its tokens."""
    kind: Literal["image", "video"] = "image"
    width: int = 0
    """Pixels, before processing."""
    height: int = 0
    step_s: float = 0.0
    """Seconds between neighbouring patches of a video, where its model turns by them."""
    thumbnail: str = ""
    """Small form as a `data:` URL, for views; may be empty."""

    @property
    def is_crossed(self) -> bool:
        """True if the text behind it looks at it by cross attention."""
        return self.num_crossed > 0

    def rows(self, start: int, end: int) -> tuple[list[int], list[int]]:
        """Returns (places in the prompt, numbers of the vectors) of its tokens at positions [start, end)."""
        places: list[int] = []
        numbers: list[int] = []
        done = 0
        for first, count in self.places:
            low, high = max(first, start), min(first + count, end)
            places += range(low, high)
            numbers += range(done + low - first, done + high - first)
            done += count
        return places, numbers

    def num_in(self, start: int, end: int) -> int:
        """Returns the number of its tokens at positions [start, end)."""
        return sum(max(0, min(first + count, end) - max(first, start)) for first, count in self.places)

    def moved(self, by: int) -> Picture:
        """Returns the picture with all places so many tokens later."""
        return msgspec.structs.replace(self, places=tuple((first + by, count) for first, count in self.places))

    @property
    def end(self) -> int:
        """The position behind its last token."""
        return sum(self.places[-1]) if self.places else 0

    @property
    def start(self) -> int:
        """The position of its first token."""
        return self.places[0][0] if self.places else 0


class Axes(msgspec.Struct, frozen=True):
    """Rotary positions on three axes (time, height, width), of a prompt with pictures whose model turns by them."""

    data: bytes
    """int32 [3, num_prompt] in the machine's byte order."""
    next: int
    """Position, on all axes, of the first token behind the prompt; later ones count up from it."""


class SeenPrompt(msgspec.Struct, frozen=True):
    """A prompt as requests have it: token ids, its pictures, and rotary positions where they are not those of the tokens."""

    ids: tuple[int, ...]
    pictures: tuple[Picture, ...] = ()
    axes: Axes | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One generation: token ids in, one continuation out. A prompt with `n` samples is `n` requests, a group."""

    rid: str
    input_ids: tuple[int, ...]
    """Token ids of the prompt; of one given as embeddings each is 0 and stands for nothing."""
    params: SamplingParams
    input_embeds: InputEmbeds | None = None
    """Embeddings of the prompt's places, where it was given as such."""
    pictures: tuple[Picture, ...] = ()
    """Pictures of the prompt in order. The ids at their tokens are those that stand for pictures in the vocabulary."""
    axes: Axes | None = None
    """Rotary positions, where they are not those of the tokens in the text."""
    group: str = ""
    """Id that the caller gave to all `n` samples of a prompt; aborting it ends them all. Empty for a single sample."""
    seed: int = 0
    """Resolved seed of this sample. The same seed gives the same draws, independent of the rest of the batch."""
    return_logprob: bool = False
    logprob_start_len: int = -1
    """First prompt position whose log-probability is returned. -1: output tokens only."""
    top_logprobs_num: int = 0
    token_ids_logprob: tuple[int, ...] = ()
    namespace: str = ""
    """Name of the radix tree (adapter, image set, tenant salt): requests share cached prefixes only within it."""
    priority: int = 0
    """Rank in the queue: higher is scheduled earlier; equal ones follow the schedule policy."""
    timeout_s: float | None = None
    origin: str = ""
    """Client that sent it, in words; empty for a call from Python."""
    custom_logit_processor: str | None = None
    return_hidden_states: bool = False
    """Switch to return the hidden states of the prompt, which then reuses no prefix, and of the output except its last
    token."""

    @property
    def picture_rows(self) -> dict[str, int]:
        """Rows of keys and values of the pictures that the text looks at by cross attention, by digest."""
        return {picture.digest: picture.num_crossed for picture in self.pictures if picture.is_crossed}


class EncodeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One text, or pair of texts, to make a vector of."""

    rid: str
    input_ids: tuple[int, ...]
    second_from: int | None = None
    """Index of the first token of a pair's second text; None for one text."""
    namespace: str = ""
    waited_s: float = 0.0
    """Seconds that it waited for the call that it is part of."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The pages of one tree node, or (`node_id` 0) the private pages of one sequence.

    Segments are compared by identity: two sequences share one if they hold the same object. A tree node makes only one.
    """

    node_id: int
    pages: tuple[int, ...]


def first_of(keys: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Returns the first tokens of a text as the tree has it. Those of one picture, a number below 0 each, count as one."""
    if not keys or min(keys[:count]) >= 0:
        return keys[:count]
    end = 0
    while end < len(keys) and count > 0:
        start = end
        end += 1
        while keys[start] < 0 and end < len(keys) and keys[end] == keys[start]:
            end += 1
        count -= 1
    return keys[:end]


def slots_of_pages(pages: list[int], page_size: int) -> list[int]:
    """Returns the KV slots of these pages, in order."""
    return pages if page_size == 1 else [page * page_size + offset for page in pages for offset in range(page_size)]


class TokenLogprob(msgspec.Struct, frozen=True):
    """Log-probabilities at one position, from the model's own distribution (before penalties, temperature and masks)."""

    token_id: int
    logprob: float | None
    """Log-probability of the token. None for the first token of a prompt, which has none."""
    top: tuple[tuple[float, int], ...] = ()
    """The `top_logprobs_num` likeliest tokens as (logprob, token id), the likeliest first."""
    chosen: tuple[tuple[float, int], ...] = ()
    """The tokens of `token_ids_logprob` as (logprob, token id), in its order."""


class HiddenRows(msgspec.Struct, frozen=True):
    """The model's last hidden states (after the final norm) of neighbouring tokens."""

    data: bytes
    """float32 [num_tokens, width] in the machine's byte order."""
    width: int


class FinishInfo(TypedDict):
    """The `finish_reason` of a result."""

    type: Literal["stop", "length", "abort"]
    matched: NotRequired[int | str | None]
    """With "stop": the stop string or token id that ended the text."""
    length: NotRequired[int | None]
    """With "length": the number of output tokens."""
    message: NotRequired[str | None]
    """With "abort": the reason. With "length": the position in the constraint where the text stopped."""
    constraint: NotRequired[str | None]
    """With "length": "incomplete" if the text does not satisfy its constraint."""


class FinishReason(msgspec.Struct, frozen=True):
    """The reason why a request ended."""

    type: Literal["stop", "length", "abort"]
    matched: int | str | None = None
    length: int | None = None
    message: str | None = None
    constraint: Literal["incomplete"] | None = None
    """The text does not satisfy its constraint; with "length" `message` then names the place where it stopped."""
    expected: str | None = None
    """The continuation that the constraint would have taken next, if it is known."""

    def to_dict(self) -> FinishInfo:
        """Returns `meta_info["finish_reason"]`."""
        if self.type == "stop":
            return {"type": "stop", "matched": self.matched}
        if self.type == "abort":
            return {"type": "abort", "message": self.message}
        if self.constraint is None:
            return {"type": "length", "length": self.length}
        return {"type": "length", "length": self.length, "constraint": self.constraint, "message": self.message}


class TokenOut(msgspec.Struct, frozen=True, kw_only=True):
    """The output of one step for one request."""

    rid: str
    token_ids: tuple[int, ...] = ()
    text: str = ""
    """Text that cannot change any more: no half character, no possible start of a stop string."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Log-probabilities, one per entry of `token_ids`. Empty without `return_logprob`."""
    forced: tuple[bool, ...] = ()
    """Flags, one per entry of `token_ids`: True if the grammar forced the text. Empty if none was forced."""
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    """Prompt positions scored in this step, in order."""
    hidden: tuple[HiddenRows, ...] = ()
    """Hidden states of the tokens computed since the last output, in order, when asked for."""
    num_cached: int = 0
    """Prompt tokens whose K/V was reused when the request was first admitted."""
    finish: FinishReason | None = None
    unenforced: tuple[str, ...] = ()
    """Parts of the constraint that no mask enforced; only with the last output."""
