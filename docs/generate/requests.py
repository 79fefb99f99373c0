"""Pages of a request: its sampling parameters, and what its result holds."""

from __future__ import annotations

import re
import typing

import msgspec

from generate.markdown import code, page, table, type_name, words
from workbench.field_docs import field_docs
from workbench.native.requests import PromptOptions
from workbench.native.results import Completion, MetaInfo
from workbench.types import ALIASES, SamplingParams

PLACES = """
The same names everywhere: keywords of `Engine.generate` and `gen`, keys of `sampling_params` in the body of `/generate`,
fields of `workbench.SamplingParams`. The APIs of OpenAI, Anthropic and Ollama have their own names for some of them, and
take the rest beside these.

```python
engine.generate("The capital of France is", temperature=0, max_new_tokens=8)
engine.generate("The capital of France is", {"temperature": 0, "max_new_tokens": 8})
engine.generate("The capital of France is", workbench.SamplingParams(temperature=0, max_new_tokens=8))
```

A value outside its range raises `InvalidRequest`, a name that does not exist `UnknownParameter`, before anything is computed.
"""
BESIDE = """
They stand beside the sampling parameters: keywords of `generate`, fields of the body of `/generate`. Each is one value, or a list
with one per prompt.
"""
RESULTS = """
`Engine.generate` returns a `workbench.Completion`, which is a dictionary, and `/generate` the same as JSON. One prompt gives one
of them, `n` above 1 a list, and several prompts a list with an entry per prompt. With `stream` each chunk is the whole
result so far.
"""
LOGPROBS = """
A log-probability is a list `[log-probability, token id, text]`; the text is None unless `return_text_in_logprobs` is set.
`finish_reason` is None while the request runs, then a dictionary: `{"type": "stop", "matched": ...}` with the token id or
the string that ended the text, `{"type": "length", "length": ...}` at its limit, or `{"type": "abort"}`.
"""


OPTIONS = field_docs(PromptOptions)


def sampling_page() -> str:
    """Writes one row per field of `SamplingParams`, and per option of a request."""
    docs, hints = field_docs(SamplingParams), typing.get_type_hints(SamplingParams)
    rows = [
        (code(field.name), code(type_name(hints[field.name])), code(repr(default_of(field))), words(docs[field.name]))
        for field in msgspec.structs.fields(SamplingParams)
    ]
    others = ", ".join(f"`{other}` for `{name}`" for other, name in ALIASES.items())
    options = ((code(name), code(str(PromptOptions.__annotations__[name])), words(says)) for name, says in OPTIONS.items())
    return page(
        "Sampling parameters",
        PLACES,
        f"Second names: {others}.",
        table(("name", "type", "default", "meaning"), rows),
        "What a schema means here is on [](../schemas.md).",
        "## Options of a request",
        BESIDE,
        table(("name", "type", "meaning"), options),
    )


def default_of(field: msgspec.structs.FieldInfo) -> object:
    """Returns the default of a field."""
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def results_page() -> str:
    """Writes one row per key of a result and of its `meta_info`."""
    return page(
        "Results",
        RESULTS,
        "## A completion",
        table(("key", "type", "always there", "meaning"), keys(Completion)),
        "## `meta_info`",
        table(("key", "type", "always there", "meaning"), keys(MetaInfo)),
        LOGPROBS,
    )


def keys(kind: type) -> typing.Iterator[tuple[str, ...]]:
    """Yields a row per key of a TypedDict."""
    docs = field_docs(kind)
    for name, hint in kind.__annotations__.items():
        optional = re.fullmatch(r"NotRequired\[(.*)\]", hint.__forward_arg__)
        kind_of = optional[1] if optional else hint.__forward_arg__
        yield code(name), code(kind_of), "" if optional else "yes", words(docs[name])
