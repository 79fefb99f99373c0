"""Lists the generations and selections of a run with their token counts, and finds them by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workbench.errors import InvalidRequest, UnknownVariable
from workbench.lang.describe import counts
from workbench.lang.nodes import Gen, Select
from workbench.lang.run_state import Generated, Key


@dataclass(frozen=True)
class Call:
    """One generation or selection and its token counts. A count that the backend does not report is None."""

    name: str | None
    kind: str
    rid: str | None
    prompt_tokens: int | None
    cached_tokens: int | None
    computed_tokens: int | None
    """Prompt tokens that were not in the cache."""
    completion_tokens: int | None


def calls_of(answers: Mapping[Key, Generated]) -> list[Call]:
    """Returns the calls of this run, forks included, in the order of the text."""
    return [_call(answer) for _, answer in _in_order(answers) if not answer.is_replayed]


def _in_order(answers: Mapping[Key, Generated]) -> list[tuple[Key, Generated]]:
    return sorted(answers.items(), key=lambda item: item[0])


def _call(answer: Generated) -> Call:
    first = answer.meta_info[0] if isinstance(answer.meta_info, list) else answer.meta_info
    kind = type(answer.node).__name__.lower()
    return Call(getattr(answer.node, "name", None), kind, first.get("id"), *counts(answer.meta_info))


def find_answer(answers: Mapping[Key, Generated], wanted: str | tuple[str, int]) -> Key:
    """Returns the key of the generation that an edit names. Raises UnknownVariable or InvalidRequest if there is none."""
    name, index = wanted if isinstance(wanted, tuple) else (wanted, 0)
    nodes = {key: answer.node for key, answer in _in_order(answers) if isinstance(answer.node, Gen | Select)}
    keys = [key for key, node in nodes.items() if node.name == name]
    if not keys:
        raise unknown_name(name, [node.name for node in nodes.values() if node.name is not None])
    if not 0 <= index < len(keys):
        raise InvalidRequest(f"edit of {name!r}", index, f"between 0 and {len(keys) - 1}")
    return keys[index]


def unknown_name(name: str, known: Iterable[str]) -> UnknownVariable:
    near = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the program has made: {', '.join(known) or 'nothing yet'}"
    return UnknownVariable(f"no generation is called {name!r}", hint=hint)
