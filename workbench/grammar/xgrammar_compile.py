"""The part of xgrammar that compiles, for this process and for a child without torch."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from workbench.errors import InvalidRequest, WorkbenchError
from workbench.grammar.normalise import Plain
from workbench.grammar.regex_rules import END, regex_rules
from workbench.grammar.schema.build import read_schema
from workbench.grammar.schema.write_ebnf import Style, schema_ebnf
from workbench.grammar.shortest import check_lengths
from workbench.types import GrammarSpec

RULES, COUNTED, MASKS = b"E", b"L", b"C"
"""First bytes of a child's message: a grammar's text, one of strings whose characters are counted, or a compiled grammar."""
# Prefix of xgrammar's messages: the time and a place in its own source.
_PREFIX = re.compile(r"^\[[\d:]+\] \S+:\d+: (Check failed: \(.*?\) is false: )?")


def bare_xgrammar() -> None:
    """Makes `xgrammar.compiler` importable without torch and transformers, which the package's own `__init__` imports for other
    uses (2 to 4 s and 200 MB). Changes this process, which must be one that only compiles."""
    sys.modules["torch"] = None  # type: ignore[assignment]
    transformers: Any = types.ModuleType("transformers")
    transformers.PreTrainedTokenizerBase = transformers.PreTrainedTokenizerFast = object
    sys.modules["transformers"] = transformers
    spec = importlib.util.find_spec("xgrammar")
    assert spec is not None
    sys.modules["xgrammar"] = importlib.util.module_from_spec(spec)  # its folder, not its `__init__`
    importlib.import_module("xgrammar.load_binding")
    importlib.import_module("xgrammar.exception")


def compiler(about: bytes) -> Callable[[Plain, GrammarSpec], bytes]:
    """Returns a function that compiles into the bytes that `XGrammarBackend.load` reads: a grammar with all its masks, or for a
    JSON Schema the rules alone, whose masks are made when their places are reached."""
    from xgrammar.compiler import GrammarCompiler
    from xgrammar.tokenizer_info import TokenizerInfo

    info = TokenizerInfo.deserialize_json(about.decode())
    inner = GrammarCompiler(info, max_threads=1, cache_enabled=False)

    def run(plain: Plain, spec: GrammarSpec) -> bytes:
        if plain.schema is not None:
            return (COUNTED if plain.schema.has_limits else RULES) + read_plain(plain, spec)[1].encode()
        return MASKS + compile_plain(inner, plain, spec).serialize_json().encode()

    return run


def compile_plain(compiler: Any, plain: Plain, spec: GrammarSpec) -> Any:
    """Returns an `xgrammar.CompiledGrammar`. Raises InvalidRequest about `spec` with the parser's message."""
    with _as_invalid(spec):
        return compiler.compile_grammar(read_plain(plain, spec)[0])


def read_plain(plain: Plain, spec: GrammarSpec) -> tuple[Any, str]:
    """Returns an `xgrammar.Grammar`, and the EBNF it was read from, or an empty text. Raises InvalidRequest about `spec`."""
    with _as_invalid(spec):
        grammar, text = _grammar(plain)
        if plain.schema is None:  # reading a schema checks it
            check_lengths(grammar, spec)
        return grammar, text


@contextmanager
def _as_invalid(spec: GrammarSpec) -> Iterator[None]:
    """Raises the parser's errors about a text as InvalidRequest."""
    try:
        yield
    except WorkbenchError:
        raise
    except (RuntimeError, ValueError, OverflowError) as error:  # ValueError: a surrogate, a number of 5,000 digits
        message = error.object.decode("utf-8", "replace") if isinstance(error, UnicodeDecodeError) else str(error)
        message = _PREFIX.sub("", message).strip() or "the compiler gives no reason"
        raise InvalidRequest(spec.kind, spec.text, f"a constraint that can be compiled ({message})") from None


def _grammar(plain: Plain) -> tuple[Any, str]:
    from xgrammar.grammar import Grammar  # the package would load torch, which a compiling child lacks

    if plain.kind == "lark":
        return Grammar.from_lark(plain.text), ""
    if plain.kind == "structural_tag":
        return Grammar.from_structural_tag(json.dumps(_with_fixed_separators(json.loads(plain.text)))), ""
    text = plain.text
    if plain.kind == "regex":
        text = regex_rules(text)
    elif plain.schema is not None:
        text = schema_ebnf(plain.schema, Style(plain.max_whitespace, after=END))
    return Grammar.from_ebnf(text), text


def _with_fixed_separators(tag: Any) -> Any:
    """Returns a structural tag with grammars in place of its JSON schemas, which would allow any white space."""
    if isinstance(tag, list):
        return [_with_fixed_separators(part) for part in tag]
    if not isinstance(tag, dict):
        return tag
    if tag.get("type") == "json_schema":
        return {"type": "grammar", "grammar": schema_ebnf(read_schema(json.dumps(tag["json_schema"]), counts=False), Style())}
    return {name: _with_fixed_separators(part) for name, part in tag.items()}
