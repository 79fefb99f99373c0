"""Tab completion for the magics: sub-commands, options, their choices, and the names in a session."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from workbench.magics.facts import unfinished
from workbench.magics.options import Parser
from workbench.magics.session import Session

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult

_CALL = re.compile(r"(?:^\s*%{0,2}|=\s*%)(wb|wb_gen|wb_chat|wb_program)[ \t]+(.*)$")


class Candidates:
    """Finds the words that may follow on a magic's line."""

    def __init__(self, session: Session, subs: Mapping[str, Parser], cells: Mapping[str, Parser]) -> None:
        self._session, self._subs, self._cells = session, subs, cells

    def of(self, line: str) -> tuple[str, list[str]]:
        """Returns the word at the end of `line`, where the cursor is, and the words that may complete it."""
        call = _CALL.search(line)
        if call is None:
            return "", []
        *words, current = re.split(r"\s+", call[2])
        parser: Parser | None = self._cells.get(call[1])
        if parser is None:
            if not words:
                return current, _starting(current, self._subs)
            parser = self._subs.get(words.pop(0))
        return current, [] if parser is None else _starting(current, self._words(parser, words, current))

    def _words(self, parser: Parser, words: list[str], current: str) -> Iterable[str]:
        pending = parser._option_string_actions.get(words[-1]) if words else None
        if pending is not None and pending.nargs != 0:
            return self._values(pending)
        if current.startswith("-"):
            return [flag for flag, action in parser._option_string_actions.items() if action.help != argparse.SUPPRESS]
        return self._positional(parser)

    def _values(self, action: argparse.Action) -> Iterable[str]:
        match action.dest:
            case "engine":
                return self._session.engines
            case "name":
                return self._session.conversations
            case "model_path":
                return model_names()
        return map(str, action.choices or ())

    def _positional(self, parser: Parser) -> Iterable[str]:
        match parser.prog:
            case "%wb load":
                return model_names()
            case "%wb stop":
                return self._session.engines
            case "%wb help":
                return self._subs
            case "%wb models":
                return [*(parser._actions[0].choices or ()), *model_names()]
            case "%wb abort":
                return [rid for engine in self._session.engines.values() for rid in unfinished(engine.log.read()[1])]
            case "%wb explain" | "%wb why" if self._session.last is not None:
                return [self._session.last.rid]
        return ()


def model_names() -> list[str]:
    from workbench.hub.catalog import CATALOG

    return list(CATALOG)


def matcher(candidates: Candidates) -> object:
    """Returns the function for `ip.Completer.custom_matchers`."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher()  # type: ignore[untyped-decorator]
    def workbench_matcher(context: CompletionContext) -> SimpleMatcherResult:
        current, words = candidates.of(context.text_until_cursor)
        # IPython replaces only its own token, which starts later if the word contains one of its delimiters.
        cut = max(0, len(current) - len(context.token))
        found = [SimpleCompletion(text=word[cut:], type="option" if word.startswith("-") else "value") for word in words]
        return {"completions": found, "suppress": bool(found)}

    return workbench_matcher


def _starting(prefix: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(prefix)]
