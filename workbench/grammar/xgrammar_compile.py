"""The part of xgrammar that compiles, for this process and for a child without torch."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
import types
from collections.abc import Callable
from typing import Any

from workbench.errors import InvalidRequest, WorkbenchError
from workbench.grammar.json_grammar import json_grammar
from workbench.grammar.plain import Plain
from workbench.grammar.quiet import without_library_lines
from workbench.grammar.regex_rules import as_ebnf, regex_rules
from workbench.grammar.shortest import check_lengths
from workbench.types import GrammarSpec

# What xgrammar writes before each message: the time and a place in its own source.
_PREFIX = re.compile(r"^\[[\d:]+\] \S+:\d+: (Check failed: \(.*?\) is false: )?")


def bare_xgrammar() -> None:
    """Changes this process, which must be one that only compiles: `xgrammar.compiler` can then be imported without torch and
    transformers, which the package's own `__init__` imports for other uses (2 to 4 s and 200 MB)."""
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
    """Compiles into what `XGrammarBackend.load` reads."""
    from xgrammar.compiler import GrammarCompiler
    from xgrammar.tokenizer_info import TokenizerInfo

    info = TokenizerInfo.deserialize_json(about.decode())
    inner = GrammarCompiler(info, max_threads=1, cache_enabled=False)

    def run(plain: Plain, spec: GrammarSpec) -> bytes:
        return compile_plain(inner, plain, spec).serialize_json().encode()

    return run


def compile_plain(compiler: Any, plain: Plain, spec: GrammarSpec) -> Any:
    """An `xgrammar.CompiledGrammar`. Raises InvalidRequest about `spec` with the parser's message."""
    try:
        with without_library_lines():
            grammar = _grammar(plain)
        check_lengths(grammar, spec)
        return compiler.compile_grammar(grammar)
    except WorkbenchError:
        raise
    except (RuntimeError, ValueError, OverflowError) as error:  # ValueError: half a character, a number of 5,000 digits
        told = error.object.decode("utf-8", "replace") if isinstance(error, UnicodeDecodeError) else str(error)
        message = _PREFIX.sub("", told).strip() or "the compiler gives no reason"
        raise InvalidRequest(spec.kind, spec.text, f"a constraint that can be compiled ({message})") from None


def _grammar(plain: Plain) -> Any:
    """An `xgrammar.Grammar`."""
    from xgrammar.grammar import Grammar  # not the package: a child that compiles has no torch

    if plain.kind == "regex":
        return Grammar.from_ebnf(regex_rules(plain.text))
    if plain.kind == "ebnf":
        return Grammar.from_ebnf(plain.text)
    if plain.kind == "lark":
        return Grammar.from_lark(plain.text)
    if plain.kind == "structural_tag":
        return Grammar.from_structural_tag(json.dumps(_with_fixed_separators(json.loads(plain.text))))
    space = {"any_whitespace": True, "max_whitespace_cnt": plain.max_whitespace}
    # Fixed separators, ", " and ": ", so that the text between values is never a choice.
    space = space if plain.max_whitespace else {"any_whitespace": False}
    return json_grammar(plain.text, **space, strict_mode=True)


def _with_fixed_separators(tag: Any) -> Any:
    """A structural tag whose JSON schemas are grammars: as schemas they would allow any white space."""
    if isinstance(tag, list):
        return [_with_fixed_separators(part) for part in tag]
    if not isinstance(tag, dict):
        return tag
    if tag.get("type") == "json_schema":
        grammar = json_grammar(json.dumps(tag["json_schema"]), any_whitespace=False, strict_mode=True)
        return {"type": "grammar", "grammar": as_ebnf(grammar)}
    return {name: _with_fixed_separators(part) for name, part in tag.items()}
