"""Sampling parameters, and the constraint among them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

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
