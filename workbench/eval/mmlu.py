"""MMLU: questions with four choices, by subject.

A folder has `dev/NAME_dev.csv` with worked examples and `test/NAME_test.csv`; a row is the question, four choices and a letter.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench.errors import InvalidRequest
from workbench.eval.result import Answer, Result, Tokens
from workbench.lang.backends.base import Backend
from workbench.lang.nodes import OptionTokens, Score
from workbench.lang.program import function
from workbench.lang.state import ProgramState
from workbench.lang.verbs import gen, select

LETTERS = ("A", "B", "C", "D")
Method = Literal["generate", "logprob"]


@dataclass(frozen=True)
class Question:
    """A row of a file."""

    text: str
    choices: tuple[str, ...]
    letter: str

    def prompt(self) -> str:
        lines = [self.text, *(f"{letter}. {choice}" for letter, choice in zip(LETTERS, self.choices, strict=True)), "Answer:"]
        return "\n".join(lines)


@dataclass(frozen=True)
class Subject:
    """The worked examples and the questions of a subject."""

    name: str
    shots: Sequence[Question]
    questions: Sequence[Question]

    def examples(self, num_shots: int) -> str:
        """Returns the beginning of every prompt."""
        name = self.name.replace("_", " ")
        head = f"The following are multiple choice questions (with answers) about {name}.\n\n"
        return head + "".join(f"{shot.prompt()} {shot.letter}\n\n" for shot in self.shots[:num_shots])


def read(folder: Path, num_subjects: int | None = None, num_questions: int | None = None) -> list[Subject]:
    """Returns the subjects by name, each with its first questions. Raises InvalidRequest for a folder or row of another form."""
    names = sorted(path.name.removesuffix("_test.csv") for path in (folder / "test").glob("*_test.csv"))
    if not names:
        raise InvalidRequest("data", str(folder), "a folder with dev/NAME_dev.csv and test/NAME_test.csv")
    return [
        Subject(name, _rows(folder / "dev" / f"{name}_dev.csv"), _rows(folder / "test" / f"{name}_test.csv")[:num_questions])
        for name in names[:num_subjects]
    ]


def _rows(path: Path) -> list[Question]:
    if not path.is_file():
        raise InvalidRequest.because("data", f"{path} is missing, and with it the examples", hint="unpack the whole data set")
    questions = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if len(row) != 6 or row[5].strip() not in LETTERS:
                raise InvalidRequest(f"row {number} of {path}", str(row)[:60], "a question, four choices and a letter")
            questions.append(Question(row[0], tuple(row[1:5]), row[5].strip()))
    return questions


def log_likelihood(options: Sequence[OptionTokens]) -> list[Score]:
    """Returns the log-probability of each whole option: a choices method."""
    return [sum(option.logprobs) for option in options]


@function
def by_logprob(s: ProgramState, examples: str, question: str) -> None:
    s += examples + question
    s += select("answer", [f" {letter}" for letter in LETTERS], choices_method=log_likelihood)


@function
def by_generation(s: ProgramState, examples: str, question: str) -> None:
    s += examples + question
    s += gen("answer", max_tokens=1, temperature=0)


def evaluate(backend: Backend, subjects: Sequence[Subject], *, num_shots: int, method: Method, parallel: int = 64) -> Result:
    """Answers all questions, subject by subject. Raises the error of a question that failed."""
    program = by_logprob if method == "logprob" else by_generation
    tokens, answers = Tokens(), list[Answer]()
    began = time.perf_counter()
    for subject in subjects:
        examples = subject.examples(num_shots)
        inputs = [{"examples": examples, "question": question.prompt()} for question in subject.questions]
        states = program.run_batch(inputs, backend=backend, num_threads=parallel, progress_bar=True)
        for state, question in zip(states, subject.questions, strict=True):
            text = state["answer"]
            predicted = letter_in(text)
            tokens.add(state, "answer")
            answers.append(Answer(question.text, question.letter, predicted, text, predicted == question.letter, subject.name))
    settings = {"num_shots": num_shots, "method": method, "nsub": len(subjects), "parallel": parallel}
    return Result("mmlu", backend.name, answers, time.perf_counter() - began, tokens, settings)


def letter_in(text: str) -> str | None:
    """Returns the letter that a text begins with."""
    first = text.strip()[:1]
    return first if first in LETTERS else None
