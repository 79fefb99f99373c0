"""The options of the magics: one argparse parser each. Its errors have two lines, its help is the magic's help.

`IPython.core.magic_arguments` is not used: it keeps quote characters and shows errors as a `UsageError` or a traceback.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from collections.abc import Callable
from typing import Any, NoReturn

from workbench.config import HttpArgs, ServerArgs, add_flags
from workbench.errors import WorkbenchError
from workbench.types import GRAMMAR_FIELDS
from workbench.views.live import HELP, VIEWS

ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}
SUGGESTED = {("%wb load", "--name"): "--engine"}
"""Suggestions for wrong options whose most similar name would be misleading."""
REWORDED = (
    (r"argument (\S+): invalid int value: (.+)", "{} is {}, it must be an integer"),
    (r"argument (\S+): invalid float value: (.+)", "{} is {}, it must be a number"),
    (r"argument (\S+): invalid choice: (.+?) \(choose from (.+)\)", "{} is {}, it must be one of {}"),
    (r"argument (\S+): expected one argument", "{} needs a value"),
    (r"argument (\S+): expected at least one argument", "{} needs at least one value"),
    (r"argument (\S+): ignored explicit argument (.+)", "{} takes no value, {} is too much"),
    (r"the following arguments are required: (.+)", "{} is missing"),
    (r"ambiguous option: (\S+) could match (.+)", "{} could be {}"),
)
"""Patterns of argparse's messages, and our wording of each."""


class MagicUsage(WorkbenchError):
    """A magic was called with options that it does not have."""


class Parser(argparse.ArgumentParser):
    """A parser that raises MagicUsage where argparse prints and exits."""

    def __init__(self, prog: str, description: str, *, epilog: str | None = None) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            add_help=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=110),
        )
        self.color = False  # Python 3.14 would colour the help of a kernel started from a terminal

    def error(self, message: str) -> NoReturn:
        magic = self.prog.split()[0]
        raise MagicUsage(f"{self.prog}: {reworded(message)}", hint=f"{magic}? lists what it understands")

    def parse(self, line: str) -> argparse.Namespace:
        """Returns the options on the rest of a magic's line. Raises MagicUsage for a mistake."""
        args, unknown = self.parse_known_args(self.split(line))
        if unknown:
            self._refuse(unknown[0])
        return args

    def split(self, line: str) -> list[str]:
        """Returns the words of the line without quotes. Backslashes and `#` stay, so that a regex needs no escapes."""
        lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
        try:
            return list(lexer)
        except ValueError:
            self.error(f"a quote is not closed in {line.strip()!r}")

    def _refuse(self, word: str) -> NoReturn:
        options = [option for action in self._actions for option in action.option_strings]
        given = word.split("=")[0]
        known = SUGGESTED.get((self.prog, given))
        near = [known] if known is not None else difflib.get_close_matches(given, options, n=1)
        if word.startswith("-") and near:
            raise MagicUsage(f"{self.prog} has no option {word}", hint=f"did you mean {near[0]}?")
        self.error(f"{'no option' if word.startswith('-') else 'does not expect'} {word!r}")


def reworded(message: str) -> str:
    """Returns a message of argparse in our wording, with the long name of the option."""
    for theirs, ours in REWORDED:
        if (found := re.fullmatch(theirs, message)) is not None:
            name, *more = found.groups()
            return ours.format(max(name.split("/"), key=len), *more)
    return message


def _sampling(parser: Parser, title: str) -> Callable[..., argparse.Action]:
    """Adds a group with the options of every magic that generates; returns its `add_argument`."""
    add = parser.add_argument_group(title).add_argument
    add(
        "--max-tokens",
        "--max-new-tokens",
        type=int,
        dest="max_new_tokens",
        metavar="N",
        help="stop after N tokens (default: 128)",
    )
    add("--temperature", type=float, metavar="T", help="0 always takes the likeliest token (default: 1)")
    add("--top-p", type=float, metavar="P", help="draw from the likeliest tokens that make up this probability")
    add("--seed", type=int, metavar="S", help="same seed, same draws")
    return add


def gen_parser(prog: str, description: str) -> Parser:
    """Returns the parser of `%%wb_gen`, whose options `%%wb_chat` shares."""
    parser = Parser(prog, description)
    add = _sampling(parser, "how to sample (what is not given has the engine's default)")
    add("--top-k", type=int, metavar="K", help="draw from this many likeliest tokens")
    add("--min-p", type=float, metavar="P", help="drop tokens less likely than P times the likeliest")
    ends = r"end before this text; may be repeated; \n, \t and \\ are understood"
    add("--stop", action="append", metavar="TEXT", type=unescape, help=ends)
    add = parser.add_argument_group("what the text must look like (one of them)").add_argument
    add("--regex", metavar="R", help="a regular expression for the whole output; backslashes as they are")
    add("--json-schema", metavar="S", help="JSON text, or a variable: a dict, a string or a Pydantic model")
    add("--json-object", action="store_true", default=None, help="any JSON object")
    add("--ebnf", metavar="G", help="a grammar in EBNF, or a variable that holds one")
    add("--grammar", metavar="G", help="a grammar in the style of Lark, or a variable that holds one")
    add("--choice", action="append", dest="choices", metavar="TEXT", type=unescape, help="one of these texts; may be repeated")
    add("--structural-tag", metavar="S", help="free text with constrained regions: JSON text, or a variable with a dict or text")
    add("--max-whitespace", type=int, metavar="N", help="JSON: up to N white space characters between two parts (default: fixed)")
    detail = "show the model's probabilities at each token, and the tokens where a constraint changed the choice"
    add = parser.add_argument_group("what to show").add_argument
    add("--detail", action="store_true", help=detail)
    add = parser.add_argument_group("from where and to where").add_argument
    fill = "put the value of this variable where the cell has {NAME}; may be repeated"
    add("--var", action="append", default=[], metavar="NAME", help=fill)
    add("--engine", metavar="NAME", help="which engine, where several run")
    add("-o", "--out", metavar="VAR", help="also store the result in this variable")
    add("-q", "--quiet", action="store_true", help="show and return nothing; the result goes to -o and -T")
    add("-r", "--return", action="store_true", dest="give_back", help="return the result with -q too")
    add("-T", "--save", metavar="FILE", help="also write it to a file: .html a page, .json the data, else the text")
    return parser


def chat_parser(prog: str, description: str) -> Parser:
    parser = gen_parser(prog, description)
    talk = parser.add_argument_group("the conversation")
    talk.add_argument("--name", default="default", metavar="NAME", help="which conversation goes on (default: %(default)s)")
    talk.add_argument("--new", action="store_true", help="start over with an empty conversation")
    talk.add_argument("--system", metavar="TEXT", help="instructions that stand before the first message")
    return parser


def program_parser(prog: str, description: str) -> Parser:
    parser = Parser(prog, description)
    _sampling(parser, "defaults of the cell's generations")
    add = parser.add_argument_group("from where and to where").add_argument
    add("--engine", metavar="NAME", help="which engine, where several run")
    add("-o", "--out", metavar="VAR", help="also store the state in this variable")
    add("-q", "--quiet", action="store_true", help="show nothing")
    add("-T", "--save", metavar="FILE", help="also write the picture to a file: .html a page, .json the data, else the text")
    return parser


def wb_parsers() -> dict[str, Parser]:
    """Returns a parser for each sub-command of `%wb`, in the order in which help lists them."""
    load = Parser("%wb load", "Start an engine. The same call again returns the running one; other options replace it.")
    load.add_argument("model", nargs="?", metavar="MODEL", help="alias, Hugging Face id, folder or GGUF file")
    load.add_argument("--engine", default="default", metavar="NAME", help="its name, where several run (default: %(default)s)")
    load.add_argument("--process", action="store_true", help="run it in a child process, for cells that compute in Python")
    ServerArgs.add_cli_args(load)
    status = Parser("%wb status", "The engines, how busy they are and how much of the prompts came from the cache.")
    status.add_argument("--bandwidth", action="store_true", help="measure how fast memory is read first: engines pause for 0.2 s")
    explain = Parser("%wb explain", "Where the time of a request went.")
    explain.add_argument("rid", nargs="?", metavar="RID", help="its id (completion.rid); without it the last one")
    _engine(explain)
    why = Parser("%wb why", "Whether the constraint of a request allowed a token, and why not.")
    why.add_argument("rid", nargs="?", metavar="RID", help="its id (completion.rid); without it the last one")
    why.add_argument("token", metavar="TOKEN", help="the token's text, in quotes where it holds spaces or quotes")
    why.add_argument("--step", type=int, metavar="N", help="at output token number N, from 0 (default: after the last)")
    why.add_argument("--id", action="store_true", help="TOKEN is the token's number in the vocabulary")
    _engine(why)
    memory = Parser("%wb memory", "What holds memory, and how many requests fit.")
    _engine(memory)
    evictions = Parser("%wb evictions", "What left the prefix cache, for which request, and whether it was computed again.")
    _engine(evictions)
    serve = Parser("%wb serve", "Put an engine of this notebook behind HTTP, without a second copy of its weights.")
    serve.add_argument("--stop", action="store_true", help="end the server; the engine goes on")
    add_flags(serve, HttpArgs)
    _engine(serve)
    attach = Parser("%wb attach", "Look into the engine of a running server: its views, explanations, memory and cache.")
    attach.add_argument("url", metavar="URL", help="the server's address, such as http://localhost:30000")
    attach.add_argument("--api-key", metavar="KEY", help="the server's key")
    attach.add_argument("--manage", action="store_true", help="also abort requests, drop the cache and record token detail")
    attach.add_argument("--engine", default="server", metavar="NAME", help="name for it here (default: %(default)s)")
    abort = Parser("%wb abort", "End a request that runs or waits.")
    abort.add_argument("rid", metavar="RID", help="its id, as the views show it")
    _engine(abort)
    flush = Parser("%wb flush", "Drop what the prefix cache holds and no running request needs.")
    _engine(flush)
    stop = Parser("%wb stop", "Stop an engine and give its memory back.")
    stop.add_argument("name", nargs="?", metavar="NAME", help="which engine; may be left out where one runs")
    stop.add_argument("--all", action="store_true", help="every engine of this session")
    ps = Parser("%wb ps", "The processes that run engines: this kernel, its children, and workers of other sessions.")
    models = Parser("%wb models", "List, fetch, verify or remove models, as `workbench models` does.")
    actions = ("list", "fetch", "verify", "remove")
    models.add_argument("action", nargs="?", default="list", metavar="ACTION", choices=actions, help="what to do (default: list)")
    models.add_argument("name", nargs="?", metavar="MODEL", help="alias, Hugging Face id, or a name from the list")
    models.add_argument("--download-dir", metavar="DIR", help="where models are kept in place of WORKBENCH_HOME/models")
    help = Parser("%wb help", "This text, or the help of one sub-command.")
    help.add_argument("name", nargs="?", metavar="SUB-COMMAND", help="load, status, ...")
    views = map(view_parser, HELP)
    every = (load, status, explain, why, memory, *views, evictions, serve, attach, abort, flush, stop, ps, models, help)
    return {parser.prog.split()[1]: parser for parser in every}


def view_parser(name: str) -> Parser:
    """Returns the parser of `%wb tree` and of the other views."""
    parser = Parser(f"%wb {name}", HELP[name])
    own = VIEWS[name].arguments if name in VIEWS else None
    for argument, how in (own or {}).items():
        parser.add_argument(argument, **how)
    _engine(parser)
    parser.add_argument("--no-view", action="store_true", help="a still picture instead of a live view")
    parser.add_argument("-o", "--out", metavar="VAR", help="also store the view in this variable")
    parser.add_argument(
        "-T", "--save", metavar="FILE", help="also write the picture to a file: .html a page, .json the data, else text"
    )
    parser.add_argument("--live", action="store_true", help="with -T FILE.html: a page with a slider over the whole run")
    return parser


def wb_help(parsers: dict[str, Parser]) -> str:
    """Returns the text of `%wb?` and `%wb help`."""
    top = [f"  %wb {name:<9} {parser.description}" for name, parser in parsers.items()]
    top += ["  %%wb_gen      Continue the cell's text.", "  %%wb_chat     Say the cell's text in a conversation.",
            "  %%wb_program  Run the cell as a program of the frontend language and show what it did."]  # fmt: skip
    details = [parser.format_help() for parser in parsers.values() if len(parser._actions) > 0]
    return "\n".join(["An engine for language models, in this notebook.", "", *top, "", "", "\n\n".join(details)])


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the sampling options that were given, by the names of `SamplingParams`."""
    names = ("max_new_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop", *GRAMMAR_FIELDS, "max_whitespace")
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _engine(parser: Parser) -> None:
    parser.add_argument("--engine", metavar="NAME", help="which engine, where several run")


def unescape(text: str) -> str:
    return re.sub(r"\\([nt\\])", lambda match: ESCAPES[match[1]], text)
