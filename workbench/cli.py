"""The command `workbench`: one sub-command per line of a table, imported only when it is the one that runs."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import workbench
from workbench.errors import NotSupported, WorkbenchError, install

# Name -> (module with add_parser(subparsers) and main(args) -> int, its line in the top-level help).
COMMANDS = {
    "serve": ("workbench.serve_cli", "serve a model over HTTP"),
    "models": ("workbench.models_cli", "list, fetch, verify or remove models"),
    "bench": ("workbench.bench.commands", "measure engines, servers, the cache, constraints and views"),
    "eval": ("workbench.eval.commands", "accuracy on the files of GSM8K or MMLU"),
    "doctor": ("workbench.doctor", "what this machine has: versions, device, memory, disk, missing packages"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one sub-command and returns its exit status: 2 for an error that the user can fix, 130 for an interrupt."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except WorkbenchError as error:
        print("\n".join(error._render_traceback_()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `workbench models | head`
        sys.stderr.close()
        return 0


def _run(words: list[str]) -> int:
    chosen = next((word for word in words if not word.startswith("-")), None)
    description = "A language-model engine in a notebook, and the reasons for what it did."
    parser = argparse.ArgumentParser(prog="workbench", description=description)
    parser.add_argument("--version", action="version", version=f"workbench {workbench.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    module = None
    for name, (path, help) in COMMANDS.items():
        if name == chosen:
            with _packages(name):
                module = importlib.import_module(path)
            module.add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=help)
    args = parser.parse_args(words)
    if module is None:
        parser.print_help()
        return 0
    with _packages(args.command):
        return int(module.main(args))


@contextmanager
def _packages(name: str) -> Iterator[None]:
    """Raises NotSupported, with the command that installs it, where a package that a sub-command imports is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "workbench").startswith("workbench"):
            raise
        extra = "engine,server" if name == "serve" else "engine"
        raise NotSupported(f"workbench {name} needs {error.name}", hint=install(extra)) from error
