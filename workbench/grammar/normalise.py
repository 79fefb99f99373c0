"""Rewrites every kind of constraint that users write as one of the few that backends compile.

This decides what can be enforced at all. It is plain Python and quick for ordinary texts, so a refusal reaches the caller before
anything is queued.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import msgspec

from workbench.errors import InvalidRequest, WorkbenchError
from workbench.grammar.ebnf import plain_ebnf
from workbench.grammar.lark import lark_grammar
from workbench.grammar.regex import literal, plain_regex
from workbench.grammar.schema.build import Schema, read_schema
from workbench.grammar.structural_tag import read_structural_tag
from workbench.types import GrammarSpec, is_ggml_bnf

ANY_OBJECT = '{"type": "object"}'
MAX_CHARS = 1 << 20
"""Largest length of a constraint. Longer ones are refused: they are most likely mistakes, and reading one takes seconds."""
QUICK_CHARS = defaultdict(lambda: 4096, json_schema=1 << 17)
"""Lengths by kind, up to which texts are read on the caller's thread."""
QUICK_EFFORT = 60_000
"""Limit on the work of reading a JSON Schema there (`effort.spend`)."""
QUICK_COUNT, QUICK_NESTED, QUICK_OPTIONAL, QUICK_DEPTH = 256, 64, 24, 64
COUNTS = re.compile(r"(\)?)\{(\d*),?(\d*)\}|\"(?:min|max)(?:Length|Items|Properties)\"\s*:\s*(\d+)")


@dataclass(frozen=True)
class Plain:
    """A constraint for a backend. A regex uses the few constructs that all dialects share, a schema has enforced keywords
    only."""

    kind: Literal["regex", "json_schema", "ebnf", "lark", "structural_tag"]
    text: str
    max_whitespace: int = 0
    """White space characters allowed between two parts of a JSON text; 0 fixes the separators to ", " and ": "."""
    unenforced: tuple[str, ...] = ()
    """Parts of the text that are not enforced, as paths with their values."""
    schema: Schema | None = None
    """Rules of a JSON Schema; None for other kinds."""


def plain(spec: GrammarSpec) -> Plain:
    """Rewrites a constraint. Raises InvalidRequest for an invalid one, NotSupported for one that no backend can enforce."""
    if len(spec.text) > MAX_CHARS:
        raise InvalidRequest(spec.kind, f"{len(spec.text):,} characters", f"at most {MAX_CHARS:,} characters")
    try:
        return _plain(spec)
    except WorkbenchError:
        raise
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits
        raise InvalidRequest(spec.kind, spec.text, f"a constraint that can be read ({error})") from None


def _plain(spec: GrammarSpec) -> Plain:
    text = spec.text
    if spec.kind == "regex":
        return Plain("regex", plain_regex(text))
    if spec.kind == "choices":
        return Plain("regex", "|".join(map(literal, msgspec.json.decode(text, type=list[str]))))
    if spec.kind == "json_schema":
        schema = read_schema(text)
        return Plain("json_schema", text, spec.max_whitespace, schema.unenforced, schema)
    if spec.kind == "json_object":
        return Plain("json_schema", ANY_OBJECT, spec.max_whitespace, schema=read_schema(ANY_OBJECT))
    if spec.kind == "structural_tag":
        tag, unenforced = read_structural_tag(text)
        return Plain("structural_tag", tag, unenforced=unenforced)
    if spec.kind == "grammar" and not is_ggml_bnf(text):
        return Plain("lark", lark_grammar(text))
    return Plain("ebnf", plain_ebnf(text, spec.kind))


def is_quick(spec: GrammarSpec) -> bool:
    """Returns whether it surely compiles in a fraction of a second: a short text, not deeply nested, without large counts.

    The text shows what makes compilers slow (measured with xgrammar and 49,152 tokens): large counts (`[a-z]{1,1000}` takes 0.5
    s, `.{1,1000}` 2.5 s, without the count a millisecond), many optional parts in a row (64 times ` ?` 12 s), both inside counts,
    and long lists.
    """
    if len(spec.text) > QUICK_CHARS[spec.kind]:
        return False
    if spec.kind in ("json_schema", "json_object"):
        return True  # reading it counts its own effort
    total, nested, depth = 0, 1, 0
    for group, low, high, of_json in COUNTS.findall(spec.text):
        if len(low) + len(high) + len(of_json) > 6:
            return False
        count = int(high or low or of_json or 1)
        total += count
        nested *= max(count, 1) if group else 1
    for char in spec.text:
        depth += (char in "([{") - (char in ")]}")
        if depth > QUICK_DEPTH:
            return False
    num_optional = sum(map(spec.text.count, "?*+")) * nested if spec.kind != "choices" else 0
    return total <= QUICK_COUNT and nested <= QUICK_NESTED and num_optional <= QUICK_OPTIONAL
