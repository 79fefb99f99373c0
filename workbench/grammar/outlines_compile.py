"""Regular expressions through outlines-core, with an automaton over bytes in place of one over tokens.

outlines-core builds its automaton for a vocabulary; here that is the 256 bytes. The masks over a model's tokens are made when a
state is reached (`outlines_backend`). So `.{1,1000}` takes a tenth of a second instead of ten seconds and 3 GB, and the files on
disk serve all models.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar.automaton import DEAD, Automaton
from workbench.grammar.charsets import MARK
from workbench.grammar.normalise import Plain
from workbench.grammar.schema.write_regex import schema_regex
from workbench.types import GrammarSpec

MAX_STATES = 1 << 20
DISK_BYTES = 512 << 20
"""Largest size of the files on disk; above it the least recently used automata are deleted."""
FORMAT = 2
"""Version in a cached file's name: raised when the same regex gives another automaton."""


class About(msgspec.Struct, frozen=True):
    whitespace_pattern: str | None
    folder: str | None
    """Folder where automata are kept; None keeps none."""


def compiler(about: bytes) -> Callable[[Plain, GrammarSpec], bytes]:
    """Returns a function that compiles into the bytes that `Automaton.from_bytes` reads."""
    known = msgspec.msgpack.decode(about, type=About)

    def run(plain: Plain, spec: GrammarSpec) -> bytes:
        return compile_regex(to_regex(plain, known.whitespace_pattern), spec, known.folder)

    return run


def to_regex(plain: Plain, whitespace_pattern: str | None) -> str:
    """Writes a constraint as a regex. Raises NotSupported if it is not regular, or cannot be written as one here."""
    if plain.kind == "regex":
        return plain.text
    if plain.schema is not None:
        return schema_regex(plain.schema, plain.max_whitespace, whitespace_pattern)
    field = "grammar" if plain.kind == "lark" else plain.kind
    raise NotSupported(
        f"{field}: the grammar backend outlines has regular languages only", hint='load with grammar_backend="xgrammar"'
    )


def compile_regex(regex: str, spec: GrammarSpec, folder: str | None) -> bytes:
    """Returns the bytes of a regex's automaton, from disk if they are there."""
    path = None
    if folder is not None:
        path = Path(folder) / f"{hashlib.sha256(f'{FORMAT} {regex}'.encode()).hexdigest()}.automaton"
        try:
            data = path.read_bytes()
            Automaton.from_bytes(data)
            with suppress(OSError):  # a read-only folder works too
                os.utime(path)
            return data
        except (OSError, zlib.error, ValueError, msgspec.DecodeError):
            pass
    data = _build(regex, spec).to_bytes()
    if path is not None:
        _keep(path, data)
    return data


def _build(regex: str, spec: GrammarSpec) -> Automaton:
    """Builds the automaton of a regex. The library prefers alternatives in their order and then excludes longer ones: `a|ab`
    would give no `ab`. So a mark that no regex can match ends the text, and the texts are those that may stand before it."""
    from outlines_core import Index, Vocabulary

    try:
        index = Index(f"(?:{regex}){chr(MARK)}", Vocabulary(256, {bytes([byte]): [byte] for byte in range(256)}))
    except Exception as error:  # the library's classes differ from version to version
        raise InvalidRequest(spec.kind, spec.text, f"a constraint that can be compiled ({error})") from None
    transitions: dict[int, dict[int, int]] = index.get_transitions()
    start, marked = index.get_initial_state(), index.get_final_states()
    states = np.array([start, *sorted({*transitions, *marked} - {start})])
    if len(states) > MAX_STATES:
        raise InvalidRequest(spec.kind, spec.text, f"a constraint of at most {MAX_STATES:,} states, this has {len(states):,}")
    number = {state: i for i, state in enumerate(states.tolist())}
    table = np.full((len(states), 256), DEAD, dtype=np.int32)
    for state, following in transitions.items():
        following.pop(256, None)
        table[number[state], list(following)] = [number[after] for after in following.values()]
    return _without_mark(table, np.isin(states, list(marked)))


def _without_mark(table: Any, is_marked: Any) -> Automaton:
    """Removes the mark. `is_marked` flags the states that only the mark leads to. A text may end where the mark may begin."""
    steps, states = chr(MARK).encode(), np.arange(len(table))
    for byte in steps:
        states = np.where(states == DEAD, DEAD, table[states, byte])
    is_final = (states != DEAD) & is_marked[states]
    for _ in steps:  # states that only led to the mark lead nowhere now
        goes_on = is_final | (table != DEAD).any(axis=1)
        table[(table != DEAD) & ~(goes_on & ~is_marked)[table]] = DEAD
    columns, class_of = np.unique(table, axis=1, return_inverse=True)
    return Automaton(class_of.reshape(-1).astype(np.uint8), np.ascontiguousarray(columns), is_final)


def _keep(path: Path, data: bytes) -> None:
    """Writes a file, so that a reader finds all of it or none. A full disk is no reason to refuse a request."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
        _make_room(path.parent)
    except OSError:
        pass


def _make_room(folder: Path) -> None:
    """Deletes the least recently used automata until all together take `DISK_BYTES` at most."""
    found = []
    for path in folder.glob("*.automaton"):
        with suppress(OSError):  # another process may be doing the same
            found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= DISK_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= size
