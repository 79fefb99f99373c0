"""The page of the command line, from its parsers."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator

from generate.magics import option_rows
from generate.markdown import page, table, words
from workbench.cli import COMMANDS
from workbench.config import ServerArgs

ABOUT = """
`python -m workbench` is the same command. A mistake that can be mended ends with status 2 and two lines, an interrupt with 130.
"""
REFERENCE = """
## Commands of the reference

`python -m workbench.launch_server`, `bench_serving`, `bench_offline_throughput`, `bench_one_batch` and
`bench_one_batch_server` take the reference's arguments under its names. `python -m workbench.launch_server` is `workbench
serve`, and the others are sub-commands of `workbench bench`.
"""


def command_line_page() -> str:
    """Writes a section per command and sub-command, with a row per option."""
    parts: list[str | list[str]] = [ABOUT]
    for name, (module, help) in COMMANDS.items():
        subparsers = argparse.ArgumentParser(prog="workbench").add_subparsers()
        importlib.import_module(module).add_parser(subparsers)
        parts += [f"## `workbench {name}`", sentence(help)]
        parts += of_parser(subparsers.choices[name])
    return page("Command line", *parts, REFERENCE)


def sentence(text: str) -> str:
    """Returns a line of help as a sentence."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def of_parser(parser: argparse.ArgumentParser) -> Iterator[str | list[str]]:
    """Yields the options of a command, then the sections of its sub-commands. Settings have a page of their own."""
    known = settings()
    actions = [each for each in parser._actions if not isinstance(each, argparse._HelpAction)]
    own = [each for each in actions if not isinstance(each, argparse._SubParsersAction) and each.help != argparse.SUPPRESS]
    shared = [each for each in own if set(each.option_strings) & known]
    rest = [each for each in own if each not in shared] if len(shared) > 20 else own
    if rest:
        yield table(("option", "meaning"), option_rows(rest))
    if len(shared) > 20:
        yield f"Also {len(shared)} of the names of the [configuration](configuration.md), as flags."
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            for name, sub in action.choices.items():
                if name in helps or name not in {alias for alias in action.choices if "_" in alias}:
                    yield f"### `{sub.prog}`"
                    yield words(sentence(helps.get(name, "") or (sub.description or "").partition("\n")[0]))
                    yield from of_parser(sub)


def settings() -> set[str]:
    """Returns the flags of `ServerArgs`."""
    parser = argparse.ArgumentParser(add_help=False)
    ServerArgs.add_cli_args(parser)
    return {option for action in parser._actions for option in action.option_strings}
