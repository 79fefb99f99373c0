"""Checks a constraint before it is used: its source, its cost, and the stop strings beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from workbench.errors import InvalidRequest, WorkbenchError
from workbench.grammar.compiler import GrammarCompiler, Options
from workbench.grammar.structural_tag import constraints_in, read_structural_tag
from workbench.grammar.vocabulary import Vocabulary
from workbench.types import GrammarSpec
from workbench.why.lint.finding import Cost, Finding, unsupported
from workbench.why.lint.random_texts import Cut, cut_by, mask_seconds, walks
from workbench.why.lint.report import Lint
from workbench.why.lint.schema import schema_findings, subschemas
from workbench.why.lint.source import source_findings

SLOW_S, LARGE_BYTES, SLOW_MASK_S = 0.5, 16 << 20, 1e-3
MAX_MEASURED = 24
"""Sub-schemas that are compiled on their own to measure their cost."""
MEASURE_S = 5.0
"""Seconds after which no further sub-schema is measured."""


def lint(spec: GrammarSpec, vocabulary: Vocabulary, backend: str, stop: Sequence[str] = (), prompt: str = "") -> Lint:
    """Returns the findings and costs of a constraint; compiles it, and its parts if that is quick.

    A constraint that cannot be enforced is a finding, no error.
    """
    found = [*_static(spec, prompt)]
    if any(finding.kind == "unsupported" for finding in found):
        return Lint(spec, tuple(found), ())
    cache = GrammarCompiler(vocabulary, Options(backend))
    try:
        return _compiled(cache, spec, vocabulary, backend, found, stop)
    except WorkbenchError as error:
        return Lint(spec, (*found, unsupported("", error)), ())
    finally:
        cache.close()


def _compiled(
    cache: GrammarCompiler, spec: GrammarSpec, vocabulary: Vocabulary, backend: str, found: list[Finding], stop: Sequence[str]
) -> Lint:
    """Adds the findings that only compiling shows."""
    grammar = cache.get(spec)
    whole = _cost(cache, spec, "")
    if backend == "xgrammar":
        whole = replace(whole, mask_s=mask_seconds(grammar, vocabulary))
    costs = [whole, *_part_costs(cache, spec)]
    if stop:
        drawn = [*walks(grammar, vocabulary)]
        found += [finding for text in stop for finding in _stop(text, cut_by(grammar, drawn, text))]
    found += _costly(costs)
    return Lint(spec, tuple(found), tuple(costs))


def _static(spec: GrammarSpec, prompt: str) -> Iterator[Finding]:
    """Yields the findings in the source, without compiling."""
    if spec.kind == "structural_tag":
        yield from _inside_tag(spec.text)
    elif spec.kind == "json_object":
        yield from schema_findings({"type": "object"}, prompt)
    elif spec.kind != "json_schema":
        yield from source_findings(spec)
    else:
        try:
            schema = json.loads(spec.text)
        except (ValueError, RecursionError) as error:
            yield unsupported("", InvalidRequest("json_schema", spec.text, f"JSON ({error})"))
            return
        yield from schema_findings(schema, prompt)


def _inside_tag(text: str) -> Iterator[Finding]:
    """Yields the findings of each constraint in a structural tag, with its place."""
    try:
        read_structural_tag(text)
    except WorkbenchError as error:
        yield unsupported("", error)
        return
    for path, spec in constraints_in(text):
        for finding in _static(spec, ""):
            yield replace(finding, where=f"{path} {finding.where}".rstrip(" ."))


# -- costs -----------------------------------------------------------------------------------------------------


def _cost(cache: GrammarCompiler, spec: GrammarSpec, where: str) -> Cost:
    made = cache.start(spec).result().made
    assert made is not None, "a compiler sets `made`"
    return Cost(where, made.seconds, made.num_bytes)


def _part_costs(cache: GrammarCompiler, spec: GrammarSpec) -> Iterator[Cost]:
    if spec.kind != "json_schema":
        return
    root = json.loads(spec.text)
    definitions = {key: root[key] for key in ("$defs", "definitions") if isinstance(root, dict) and key in root}
    started, seen = time.perf_counter(), {json.dumps(root)}
    for path, part in subschemas(root):
        text = json.dumps({**part, **definitions} if isinstance(part, dict) else part)
        if text in seen or len(seen) > MAX_MEASURED or time.perf_counter() - started > MEASURE_S:
            continue
        seen.add(text)
        try:
            yield _cost(cache, GrammarSpec("json_schema", text), path)
        except WorkbenchError:  # a part with references to other parts
            continue


def _costly(costs: Sequence[Cost]) -> Iterator[Finding]:
    whole, *rest = costs
    if whole.mask_s is not None and whole.mask_s >= SLOW_MASK_S:
        yield Finding(
            "cost", "", f"a mask takes {whole.mask_s * 1e3:.1f} ms on average",
            "each token waits for it, and with it all requests of its batch",
            "count to less: some 300 characters in all have quick masks, and so has a part without a count",
        )  # fmt: skip
    if whole.seconds < SLOW_S and whole.num_bytes < LARGE_BYTES:
        return
    hot = max(rest, key=lambda cost: cost.seconds, default=None)
    named = f"; {hot.where} alone takes {hot.seconds:.2f} s and {hot.num_bytes:,} bytes" if hot is not None else ""
    yield Finding(
        "cost", "" if hot is None else hot.where, f"compiling takes {whole.seconds:.2f} s and {whole.num_bytes:,} bytes{named}",
        "the first request with it waits that long", "smaller counts, shorter lists of alternatives, fewer nested repetitions",
    )  # fmt: skip


def _stop(stop: str, cut: Cut) -> Iterator[Finding]:
    if cut.witness is None and not cut.num_cut:
        return
    todo = "leave it out: a constrained text ends by itself, or choose one that the constraint does not allow"
    if cut.num_finished and cut.num_cut == cut.num_finished:
        what = f"the stop string {stop!r} came before the end in all of {cut.num_finished} texts drawn at random"
        yield Finding("stop", "", what, "such a text never becomes complete: it is cut there each time", todo)
        return
    after = "" if cut.witness is None else f", for example after {cut.witness.decode('utf-8', 'replace')!r}"
    what = f"the stop string {stop!r} may come before the text is complete{after}"
    yield Finding("stop", "", what, "the text is then cut there and breaks the constraint", todo)
