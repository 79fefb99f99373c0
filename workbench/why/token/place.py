"""The place that a text has reached in its constraint: a path in the JSON, parts of a regular expression, rules of a grammar.

Only explanations use it. The backends alone decide what is allowed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from workbench.types import GrammarSpec
from workbench.why.source_tree import Span, read
from workbench.why.token.earley import Chart, ChartTooLarge
from workbench.why.token.json_place import Distinct, json_path, schemas_at, written_path

MAX_SHOWN = 100
"""Longest piece of a source that a sentence shows."""


@dataclass(frozen=True)
class Place:
    """A place in a constraint; fields that its kind does not have are empty."""

    words: str
    """The place as part of a sentence."""
    path: str = ""
    """JSON: `.wand.length`; "." is the whole."""
    key: str | None = None
    """JSON: as much of a property's name as stands there, where a name is being written or may begin."""
    in_string: bool = False
    """JSON: inside a string."""
    schema: str = ""
    """JSON: the schema at the path."""
    rules: tuple[str, ...] = ()
    """EBNF: from `root` to the rule that goes on here."""
    spans: tuple[Span, ...] = ()
    """Regular expression and EBNF: the parts of the source that take the next character."""


def find_place(spec: GrammarSpec, text: str) -> Place | None:
    """Returns the place after `text`, which the constraint allows; None if it cannot be found."""
    if spec.kind in ("json_schema", "json_object"):
        return _in_json(spec.text if spec.kind == "json_schema" else "{}", text)
    syntax = read(spec.kind, spec.text)
    if syntax is None:
        return None
    try:
        chart = Chart(syntax)
        if not all(map(chart.push, text)):
            return None
    except ChartTooLarge:
        return None
    return _in_source(spec, chart.parts())


def _in_source(spec: GrammarSpec, parts: list[tuple[Span, tuple[str, ...]]]) -> Place:
    spans = tuple(span for span, _ in parts)
    if not spans:
        return Place(f"at the end of the {'pattern' if spec.kind == 'regex' else 'grammar'}")
    shown = [f"`{_short(spec.text[low:high])}`" for low, high in spans[:3]] + ["…"] * (len(spans) > 3)
    listed = f"the {'part' if len(spans) == 1 else 'parts'} {', '.join(shown)}"
    if spec.kind == "regex":
        return Place(f"in {listed} of the pattern", spans=spans)
    inner = list(dict.fromkeys(rules[-1] for _, rules in parts if rules))
    named = (
        f"the {'rule' if len(inner) == 1 else 'rules'} {', '.join(f'`{name}`' for name in inner[:4])}{', …' * (len(inner) > 4)}"
    )
    return Place(f"in {named}, {listed}", rules=parts[0][1], spans=spans)


def _in_json(schema: str, text: str) -> Place:
    steps, key, in_string = json_path(text)
    path = written_path(steps)
    try:
        root = json.loads(schema)
        found = [json.dumps(part, ensure_ascii=False) for part in dict.fromkeys(map(Distinct, schemas_at(root, root, steps)))]
    except (ValueError, RecursionError):
        found = []
    allowed = _short(" or ".join(found))
    words = f"in {path}{f', which is {allowed}' if allowed else ''}" if steps else "in the outermost value"
    return Place(words, path=path, key=key, in_string=in_string, schema=allowed)


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
