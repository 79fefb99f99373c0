"""The values that cross rooms and processes: requests down, tokens up. Frozen msgspec Structs, so msgpack is free.

A value checks itself when it is made; what depends on the model (vocabulary, context) is checked by `EngineCore.add`.
"""

from workbench.types.outputs import FinishInfo, FinishReason, HiddenRows, TokenLogprob, TokenOut
from workbench.types.pictures import Array, Axes, InputEmbeds, Picture, SeenPrompt
from workbench.types.requests import EncodeRequest, Request, Segment, first_of, slots_of_pages
from workbench.types.sampling import (
    ALIASES,
    GRAMMAR_FIELDS,
    MAX_WHITESPACE,
    GrammarKind,
    GrammarSpec,
    SamplingParams,
    is_ggml_bnf,
)

__all__ = [
    "ALIASES",
    "Array",
    "Axes",
    "EncodeRequest",
    "FinishInfo",
    "FinishReason",
    "GRAMMAR_FIELDS",
    "GrammarKind",
    "GrammarSpec",
    "HiddenRows",
    "InputEmbeds",
    "MAX_WHITESPACE",
    "Picture",
    "Request",
    "SamplingParams",
    "SeenPrompt",
    "Segment",
    "TokenLogprob",
    "TokenOut",
    "first_of",
    "is_ggml_bnf",
    "slots_of_pages",
]
