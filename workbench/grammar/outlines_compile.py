"""Regular expressions through outlines-core, with an automaton over bytes in place of one over tokens.

outlines-core builds its automaton for a vocabulary, here that of the 256 bytes. What follows for the tokens of a model is
found when a state is reached (`outlines_backend`). So `.{1,1000}` takes a tenth of a second instead of ten seconds and 3 GB,
and what is kept on disk serves all models.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar.automaton import DEAD, Automaton
from workbench.grammar.json_regex import schema_regex
from workbench.grammar.plain import Plain
from workbench.types import GrammarSpec

MAX_STATES = 1 << 20
FORMAT = 1
"""Part of a cached file's name: raised when an automaton of the same regex would be another."""


class About(msgspec.Struct, frozen=True):
    whitespace_pattern: str | None
    folder: str | None
    """Where automata are kept; None keeps none."""


def compiler(about: bytes) -> Callable[[Plain, GrammarSpec], bytes]:
    """Compiles into what `Automaton.from_bytes` reads."""
    known = msgspec.msgpack.decode(about, type=About)

    def run(plain: Plain, spec: GrammarSpec) -> bytes:
        return compile_regex(to_regex(plain, known.whitespace_pattern), spec, known.folder)

    return run


def to_regex(plain: Plain, whitespace_pattern: str | None) -> str:
    """Raises NotSupported for what is not regular, or not written as one here."""
    if plain.kind == "regex":
        return plain.text
    if plain.kind == "json_schema":
        return schema_regex(plain.text, plain.max_whitespace, whitespace_pattern)
    raise NotSupported(
        f"{plain.kind}: the grammar backend outlines has regular languages only", hint='load with grammar_backend="xgrammar"'
    )


def compile_regex(regex: str, spec: GrammarSpec, folder: str | None) -> bytes:
    """From disk where it is kept."""
    path = None
    if folder is not None:
        path = Path(folder) / f"{hashlib.sha256(f'{FORMAT} {regex}'.encode()).hexdigest()}.automaton"
        try:
            data = path.read_bytes()
            Automaton.from_bytes(data)
            return data
        except (OSError, zlib.error, ValueError, msgspec.DecodeError):
            pass
    data = _build(regex, spec).to_bytes()
    if path is not None:
        _keep(path, data)
    return data


def _build(regex: str, spec: GrammarSpec) -> Automaton:
    from outlines_core import Index, Vocabulary

    end = 256
    try:
        # With `$` the end of the text decides; without it the first alternative would shut out longer ones: `a|ab` gives no `ab`.
        # The byte before it keeps the beginning from being an end as well, which the library does not support.
        index = Index(rf"\x00(?:{regex})$", Vocabulary(end, {bytes([byte]): [byte] for byte in range(256)}))
    except Exception as error:  # its own classes differ from version to version
        raise InvalidRequest(spec.kind, spec.text, f"a constraint that can be compiled ({error})") from None
    transitions: dict[int, dict[int, int]] = index.get_transitions()
    finals, start = index.get_final_states(), transitions.pop(index.get_initial_state())[0]
    states = np.array(sorted({start, *transitions, *finals}))
    if len(states) > MAX_STATES:
        raise InvalidRequest(spec.kind, spec.text, f"a constraint of at most {MAX_STATES:,} states, this has {len(states):,}")
    table = np.full((len(states), 256), DEAD, dtype=np.int32)
    for state, following in transitions.items():
        following.pop(end, None)
        if following:
            row = np.searchsorted(states, state)
            table[row, list(following)] = np.searchsorted(states, list(following.values()))
    return _with_start_first(table, np.isin(states, list(finals)), int(np.searchsorted(states, start)))


def _with_start_first(table: Any, is_final: Any, start: int) -> Automaton:
    order = np.arange(len(table))
    order[[0, start]] = start, 0  # an exchange is its own inverse
    table = table[order]
    table = np.where(table == DEAD, DEAD, order[table]).astype(np.int32)
    columns, class_of = np.unique(table, axis=1, return_inverse=True)
    return Automaton(class_of.reshape(-1).astype(np.uint8), np.ascontiguousarray(columns), is_final[order])


def _keep(path: Path, data: bytes) -> None:
    """A reader finds the whole file or none. A full disk is no reason to refuse a request."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
    except OSError:
        pass
