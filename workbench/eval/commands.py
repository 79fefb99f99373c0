"""`workbench eval TASK`: accuracy on the files of GSM8K or MMLU, by few-shot programs whose examples are computed once.

Without --backend the questions go to an engine of this process, with the options of the engine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.config import ServerArgs
from workbench.errors import InvalidRequest, NotSupported, WorkbenchError, install
from workbench.eval import gsm8k, mmlu
from workbench.eval.backends import opened
from workbench.eval.result import Result
from workbench.lang.backends.base import Backend

Evaluation = Callable[[Backend], Result]
LEAST = {"parallel": 1, "num_shots": 0, "num_questions": 1, "nsub": 1}


def add_parser(subparsers: Any) -> None:
    """Adds the evaluations to the command `workbench`."""
    fill(subparsers.add_parser("eval", help="accuracy on the files of GSM8K or MMLU"))


def fill(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    tasks = parser.add_subparsers(dest="task", metavar="TASK", required=True)
    for name, (add_args, prepare, help) in TASKS.items():
        task = tasks.add_parser(name, help=help)
        task.set_defaults(prepare=prepare)
        _add_common(task)
        add_args(task)
    return parser


def main(args: argparse.Namespace) -> int:
    """Runs an evaluation. The files are read before a model is loaded."""
    os.environ.setdefault("WORKBENCH_KERNELS", "wait")  # what is measured does not change in between
    for name, least in LEAST.items():
        value = getattr(args, name, None)
        if value is not None and value < least:
            raise InvalidRequest(name, value, f"at least {least}")
    try:
        evaluation = args.prepare(args)
        with opened(args.backend, ServerArgs.from_cli_args(args)) as backend:
            result = evaluation(backend)
    except ImportError as error:
        if error.name is None or error.name.startswith("workbench"):
            raise
        raise NotSupported(f"this evaluation needs {error.name}", hint=install("engine")) from error
    print(result.to_text())
    if args.result_file:
        result.append_to(args.result_file)
    if args.answers:
        args.answers.write_text("".join(json.dumps(asdict(answer)) + "\n" for answer in result.answers))
    return 0


def run(argv: Sequence[str] | None = None) -> int:
    """Runs `python -m workbench.eval` and returns its exit status; 2 for a user's error."""
    try:
        return main(fill(argparse.ArgumentParser(prog="python -m workbench.eval")).parse_args(argv))
    except WorkbenchError as error:
        print("\n".join(error._render_traceback_()), file=sys.stderr)
        return 2


def _add_common(parser: argparse.ArgumentParser) -> None:
    ServerArgs.add_cli_args(parser)
    add = parser.add_argument
    add("--backend", metavar="URL", help="server to ask: its address, or with /v1 at the end through OpenAI's API")
    add("--parallel", type=int, default=64, help="questions at a time (default: 64)")
    add("--result-file", type=Path, help="append the numbers to this file, as a line of JSON")
    add("--answers", type=Path, help="write every answer to this file, as lines of JSON")


def _gsm8k_args(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", "--data-path", type=Path, required=True, help="file of questions, such as test.jsonl")
    add("--shots", type=Path, help="file of worked examples, such as train.jsonl (default: the first questions of --data)")
    add("--num-shots", type=int, default=5, help="worked examples in each prompt (default: 5)")
    add("--num-questions", type=int, default=200, help="questions that are asked, from the first one (default: 200)")
    add("--max-new-tokens", type=int, default=512, help="longest answer (default: 512)")


def _gsm8k(args: argparse.Namespace) -> Evaluation:
    questions, num_shots = gsm8k.read(_file(args.data)), args.num_shots
    if args.shots:
        shots = gsm8k.read(_file(args.shots))[:num_shots]
    else:
        shots, questions = questions[:num_shots], questions[num_shots:]
    questions = questions[: args.num_questions]
    if len(shots) < num_shots or not questions:
        raise InvalidRequest("num_shots", num_shots, "less than the file has questions")
    return lambda backend: gsm8k.evaluate(backend, shots, questions, max_new_tokens=args.max_new_tokens, parallel=args.parallel)


def _mmlu_args(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", "--data-dir", type=Path, required=True, help="folder with dev/NAME_dev.csv and test/NAME_test.csv")
    add("--method", choices=["logprob", "generate"], default="logprob", help="the likeliest letter, or one new token")
    add("--num-shots", "--ntrain", type=int, default=5, help="worked examples in each prompt (default: 5)")
    add("--nsub", type=int, help="subjects, from the first one by name (default: all)")
    add("--num-questions", type=int, help="questions of each subject, from the first one (default: all)")


def _mmlu(args: argparse.Namespace) -> Evaluation:
    subjects = mmlu.read(args.data, args.nsub, args.num_questions)
    most = min(len(subject.shots) for subject in subjects)
    if args.num_shots > most:
        raise InvalidRequest("num_shots", args.num_shots, f"at most {most}, the examples of a subject")
    return lambda backend: mmlu.evaluate(backend, subjects, num_shots=args.num_shots, method=args.method, parallel=args.parallel)


def _file(path: Path) -> Path:
    if not path.is_file():
        raise InvalidRequest("data", str(path), "a file; none is shipped or fetched")
    return path


TASKS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], Evaluation], str]] = {
    "gsm8k": (_gsm8k_args, _gsm8k, "sums, answered in a few sentences: the number at the end counts"),
    "mmlu": (_mmlu_args, _mmlu, "questions with four choices, by subject"),
}
