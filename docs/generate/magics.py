"""The page of the magics, from their parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

from generate.markdown import code, page, table, words
from workbench.magics import magics, options

ABOUT = """
`%load_ext workbench` registers them; they need no engine before `%wb load`. The Tab key completes sub-commands, options,
models and views, and `%wb?`, `%%wb_gen?` and the others show this page's tables. `--var NAME` puts a variable
of the notebook where the cell has `{NAME}`; without it braces are text. A mistake is answered in two lines, without a traceback.

`%config WorkbenchMagics.max_new_tokens = 64` sets a default for the cells that follow; `temperature` and `seed` have one too.
"""
SERVER = "`%wb load` also takes each name of the [configuration](configuration.md) as an option, `--page-size 16` for one."


def magics_page() -> str:
    """Writes a section per magic and sub-command, with a row per option."""
    cells = (magics.GEN, magics.CHAT, magics.PROGRAM)
    parts: list[str | list[str]] = [ABOUT, "## Cells"]
    for parser in cells:
        parts += section(parser, "###")
    parts.append("## `%wb`")
    for parser in options.wb_parsers().values():
        parts += section(parser, "###", of_server=parser.prog == "%wb load")
    return page("Magics", *parts)


def section(parser: argparse.ArgumentParser, level: str, *, of_server: bool = False) -> Iterator[str | list[str]]:
    """Yields the heading of a parser, what it does, and a table of its options; those of a server are on another page."""
    yield f"{level} `{parser.prog}`"
    yield words(parser.description or "")
    actions = [each for each in parser._actions if not isinstance(each, argparse._HelpAction | argparse._SubParsersAction)]
    shown = [each for each in actions if each.help != argparse.SUPPRESS]
    rows = option_rows(shown[:3] if of_server else shown)
    if shown:
        yield table(("option", "meaning"), rows)
    if of_server:
        yield SERVER


def option_rows(actions: Iterable[argparse.Action]) -> Iterator[tuple[str, str]]:
    """Yields a row per option or argument: how it is written, and what it does."""
    for action in actions:
        if action.option_strings:
            value = "" if action.nargs == 0 else f" {shown_value(action)}"
            name = ", ".join(code(f"{option}{value}") for option in action.option_strings)
        else:
            name = code(shown_value(action))
        help = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
        choices = f"; one of {', '.join(map(str, action.choices))}" if action.choices else ""
        yield name, words(f"{help}{choices}")


def shown_value(action: argparse.Action) -> str:
    """Returns the word that stands for an option's value in help."""
    found = action.metavar or (action.dest if not action.option_strings else action.dest.upper())
    return " ".join(found) if isinstance(found, tuple) else str(found)
