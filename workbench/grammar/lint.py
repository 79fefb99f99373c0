"""What may go wrong with a constraint, said before anything is generated with it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.errors import InvalidRequest, NotSupported, WorkbenchError
from workbench.grammar.compiler import GrammarCompiler, Options
from workbench.grammar.formats import FORMATS
from workbench.grammar.place import written_path
from workbench.grammar.schema.build import read_schema
from workbench.grammar.syntax import Leaf, Node, Ref, Repeat, Syntax, parts, read
from workbench.grammar.vocabulary import Vocabulary
from workbench.grammar.walks import Cut, cut_by, mask_seconds, walks
from workbench.types import GrammarSpec

SLOW_S, LARGE_BYTES, SLOW_MASK_S = 0.5, 16 << 20, 1e-3
MAX_MEASURED = 24
"""Sub-schemas that are compiled on their own to see what they cost."""
MEASURE_S = 5.0
SPACES, USUAL = " \t\n\r", [chr(code) for code in range(0x21, 0x7F)]
ENDLESS_FORMATS = FORMATS.keys() - {"date", "time", "date-time", "ipv4", "ipv6", "uuid"}


@dataclass(frozen=True)
class Finding:
    kind: str
    """One of `unsupported`, `unenforced`, `endless whitespace`, `runaway`, `stop`, `order`, `cost`."""
    where: str
    """A path in the JSON, or the part of the source; empty for the whole."""
    what: str
    why: str
    todo: str


@dataclass(frozen=True)
class Cost:
    """Of the whole, or of one sub-schema compiled on its own."""

    where: str
    seconds: float
    num_bytes: int
    mask_s: float | None = None
    """Of the whole, on average over texts drawn at random: what a mask takes that is found anew at each step."""


@dataclass(frozen=True)
class Findings:
    findings: tuple[Finding, ...]
    costs: tuple[Cost, ...]


def lint(spec: GrammarSpec, vocabulary: Vocabulary, backend: str, stop: Sequence[str] = (), prompt: str = "") -> Findings:
    """Compiles it, and its parts where that is quick. Never raises for what is wrong with the constraint: it says so."""
    found = [*_static(spec, prompt)]
    if any(finding.kind == "unsupported" for finding in found):
        return Findings(tuple(found), ())
    cache = GrammarCompiler(vocabulary, Options(backend))
    try:
        return _compiled(cache, spec, vocabulary, backend, found, stop)
    except WorkbenchError as error:
        return Findings((*found, _unsupported("", error)), ())
    finally:
        cache.close()


def _compiled(
    cache: GrammarCompiler, spec: GrammarSpec, vocabulary: Vocabulary, backend: str, found: list[Finding], stop: Sequence[str]
) -> Findings:
    """With what only compiling shows."""
    grammar = cache.get(spec)
    whole = _cost(cache, spec, "")
    if backend == "xgrammar":
        whole = replace(whole, mask_s=mask_seconds(grammar, vocabulary))
    costs = [whole, *_part_costs(cache, spec)]
    if stop:
        drawn = [*walks(grammar, vocabulary)]
        found += [finding for text in stop for finding in _stop(text, cut_by(grammar, drawn, text))]
    found += _costly(costs)
    return Findings(tuple(found), tuple(costs))


def _static(spec: GrammarSpec, prompt: str) -> Iterator[Finding]:
    """What can be seen without compiling."""
    if spec.kind == "json_schema":
        try:
            schema = json.loads(spec.text)
        except (ValueError, RecursionError) as error:
            yield _unsupported("", InvalidRequest("json_schema", spec.text, f"JSON ({error})"))
            return
        yield from _unenforceable(schema)
        for path, part in subschemas(schema):
            yield from _runaway(path, part)
            yield from _order(path, part, prompt)
    elif (syntax := read(spec.kind, spec.text)) is not None:
        yield from _endless(syntax)


# -- JSON schema ------------------------------------------------------------------------------------------------


def subschemas(root: Any) -> Iterator[tuple[str, Any]]:
    """(path in the JSON, what must hold there), each part of the schema once. `[]` is any item, `{}` any other property."""
    seen: set[int] = set()
    below: list[tuple[list[str | int], Any]] = [([], root)]
    while below:
        steps, schema = below.pop(0)
        if isinstance(schema, dict) and "$ref" in schema:
            schema = _target(root, str(schema["$ref"]))
        if id(schema) in seen or not isinstance(schema, (dict, bool)):
            continue
        if isinstance(schema, dict):
            seen.add(id(schema))
        yield written_path(steps).replace("[-1]", "[]").replace("[-2]", "{}"), schema
        if isinstance(schema, dict):
            below += [(steps + more, part) for more, part in _children(schema)]


def _children(schema: dict[str, Any]) -> Iterator[tuple[list[str | int], Any]]:
    properties, fixed = schema.get("properties"), schema.get("prefixItems")
    for name, part in properties.items() if isinstance(properties, dict) else ():
        yield [name], part
    for i, part in enumerate(fixed if isinstance(fixed, list) else ()):
        yield [i], part
    if "items" in schema and schema["items"] is not False:
        yield [-1], schema["items"]
    if schema.get("additionalProperties", False) is not False:
        yield [-2], schema["additionalProperties"]
    for keyword in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(keyword, ()):
            yield [], part


def _target(root: Any, pointer: str) -> Any:
    for name in pointer.split("/")[1:]:
        try:
            root = root[int(name)] if isinstance(root, list) else root[name]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return root


def _unenforceable(root: Any) -> Iterator[Finding]:
    """The first refusal of the whole, and then those of each part on its own."""
    try:
        for what in read_schema(json.dumps(root)).unenforced:
            path, _, keyword = what.removeprefix("json_schema").partition(": ")
            why = "the text is not checked for it: `meta_info` lists it as unenforced"
            yield Finding(
                "unenforced", path or ".", f"{keyword} is {_told(keyword)}", why, "check it afterwards, or write a pattern"
            )
        return
    except WorkbenchError as error:
        yield _unsupported(_path_of(error), error)
        told = {error.message}
    definitions = {key: root[key] for key in ("$defs", "definitions") if isinstance(root, dict) and key in root}
    for path, part in subschemas(root):
        try:
            read_schema(json.dumps({**part, **definitions} if isinstance(part, dict) else part))
        except WorkbenchError as error:
            is_here = not _path_of(error) and "reference" not in error.message
            message = error.message.replace("json_schema", f"json_schema{path if path != '.' else ''}", 1)
            if is_here and message not in told:
                told.add(message)
                yield _unsupported(path, NotSupported(message, hint=error.hint))


def _told(what: str) -> str:
    return "an annotation" if what.startswith(("format ", "keyword ")) else "not enforced"


def _path_of(error: WorkbenchError) -> str:
    found = re.match(r"json_schema(\S*?)(?::| is )", error.message)
    return found[1] if found else ""


def _unsupported(where: str, error: WorkbenchError) -> Finding:
    return Finding(
        "unsupported", where, error.message, "a request with it is refused", error.hint or "leave it out, or check it afterwards"
    )


def _runaway(path: str, schema: Any) -> Iterator[Finding]:
    why = "only the model ends it, and one that does not is cut at max_new_tokens: the JSON is then incomplete"
    if schema is True or schema == {}:
        yield Finding("runaway", path, "anything may stand there", why, "say what is wanted")
        return
    types = schema.get("type", ()) if isinstance(schema, dict) else ()
    types = [types] if isinstance(types, str) else types
    if not isinstance(schema, dict) or {"enum", "const", "$ref"} & schema.keys():
        return
    if "string" in types and "maxLength" not in schema:
        pattern, form = schema.get("pattern"), schema.get("format")
        syntax = read("regex", pattern) if isinstance(pattern, str) else None
        is_bound = (pattern is not None and (syntax is None or not _has_endless(syntax))) or (
            form in FORMATS and form not in ENDLESS_FORMATS
        )
        if not is_bound:
            named = "has a pattern without end" if pattern is not None else "has no maxLength"
            yield Finding("runaway", path, f"the string {named}", why, "give it a maxLength, or a pattern with counts")
    if "array" in types and "maxItems" not in schema and schema.get("items", True) is not False:
        yield Finding("runaway", path, "the array has no maxItems", why, "give it maxItems")


def _order(path: str, schema: Any, prompt: str) -> Iterator[Finding]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not prompt or not isinstance(properties, dict):
        return
    places = {name: found.start() for name in properties if (found := re.search(rf"(?<!\w){re.escape(name)}(?!\w)", prompt))}
    asked = sorted(places, key=lambda name: places[name])
    made = [name for name in properties if name in places]
    if asked != made:
        yield Finding(
            "order", path, f"the prompt names {', '.join(asked)}; they are generated as {', '.join(made)}",
            "the model wants to begin with another key than it may, and answers in an order it did not plan",
            "put the properties into the order of the prompt, or the prompt into theirs",
        )  # fmt: skip


# -- regular expressions and EBNF -------------------------------------------------------------------------------


def _endless(syntax: Syntax) -> Iterator[Finding]:
    for node in (part for top in (syntax.root, *syntax.rules.values()) for part in parts(top)):
        if isinstance(node, Repeat) and node.high is None:
            yield _loop(syntax, node.item, syntax.source[slice(*node.span)])
    for name, body in syntax.rules.items():
        if name in _reached(syntax, body) and all(_is_blank(leaf) for leaf in _leaves(syntax, body)):
            yield _loop(syntax, body, name)


def _has_endless(syntax: Syntax) -> bool:
    return next(_endless(syntax), None) is not None


def _loop(syntax: Syntax, body: Node, shown: str) -> Finding:
    leaves = _leaves(syntax, body)
    if leaves and all(map(_is_blank, leaves)):
        why = "small models like to go on with spaces or line breaks until max_new_tokens cuts them"
        return Finding("endless whitespace", shown, "whitespace may go on without end", why, "count it: {0,2} instead of * or +")
    why = "only the model ends it, and one that does not is cut at max_new_tokens: the text is then incomplete"
    return Finding("runaway", shown, "it may go on without end", why, "count it: {1,40} instead of + or *")


def _is_blank(leaf: Leaf) -> bool:
    return any(map(leaf.accepts, SPACES)) and not any(map(leaf.accepts, USUAL))


def _leaves(syntax: Syntax, node: Node) -> list[Leaf]:
    bodies = [node, *(syntax.rules[name] for name in _reached(syntax, node))]
    return [part for body in bodies for part in parts(body) if isinstance(part, Leaf)]


def _reached(syntax: Syntax, node: Node) -> set[str]:
    """Rules that the node leads to."""
    reached: set[str] = set()
    below = [node]
    while below:
        names = {part.name for part in parts(below.pop()) if isinstance(part, Ref)} - reached
        reached |= names
        below += [syntax.rules[name] for name in names]
    return reached


# -- what compiling shows ---------------------------------------------------------------------------------------


def _cost(cache: GrammarCompiler, spec: GrammarSpec, where: str) -> Cost:
    made = cache.start(spec).result().made
    assert made is not None, "a compiler tells how it came by a matcher"
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
        except WorkbenchError:  # a part that means nothing alone: its references lead elsewhere
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
