"""GSM8K: grade-school sums, answered in a few sentences that end with a number.

Files are lines of JSON with `question` and `answer`, whose last line is `#### ` and the number.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from workbench.errors import InvalidRequest
from workbench.eval.result import Answer, Result, Tokens
from workbench.lang.backends.base import Backend
from workbench.lang.program import function
from workbench.lang.state import ProgramState
from workbench.lang.verbs import gen

Question = dict[str, str]
STOP = ["Question", "Assistant:", "<|separator|>"]
NUMBER = re.compile(r"(?<!\d)(?<!\d\.)-?\d+(?:\.\d+)?")
MARK = "####"


def read(path: Path) -> list[Question]:
    """Returns the questions of a file. Raises InvalidRequest for a line of another form."""
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            question = {"question": str(found["question"]), "answer": str(found["answer"])}
        except (ValueError, LookupError, TypeError):
            raise InvalidRequest(f"line {number} of {path}", line[:60], 'JSON with "question" and "answer"') from None
        if number_in(question["answer"]) is None:
            raise InvalidRequest(
                f"the answer in line {number} of {path}", question["answer"][-60:], f"one with {MARK} and a number"
            )
        questions.append(question)
    return questions


def number_in(text: str) -> Decimal | None:
    """Returns the number behind `####`, else the last one of the text; None of a text without numbers."""
    text = text.replace(",", "")
    _, found, marked = text.partition(MARK)
    numbers = NUMBER.findall(marked) if found else []
    if numbers:
        return Decimal(numbers[0])
    numbers = NUMBER.findall(text)
    return Decimal(numbers[-1]) if numbers else None


def example(question: Question, *, with_answer: bool) -> str:
    return f"Question: {question['question']}\nAnswer:" + (f" {question['answer']}\n\n" if with_answer else "")


def evaluate(
    backend: Backend, shots: Sequence[Question], questions: Sequence[Question], *, max_new_tokens: int = 512, parallel: int = 64
) -> Result:
    """Answers all questions greedily, after the same worked examples. Raises the error of a question that failed."""
    examples = "".join(example(shot, with_answer=True) for shot in shots)

    @function
    def few_shot_gsm8k(s: ProgramState, question: str) -> None:
        s += examples + question
        s += gen("answer", max_tokens=max_new_tokens, stop=STOP)

    inputs = [{"question": example(question, with_answer=False)} for question in questions]
    began = time.perf_counter()
    states = few_shot_gsm8k.run_batch(inputs, backend=backend, temperature=0, num_threads=parallel, progress_bar=True)
    latency = time.perf_counter() - began
    tokens, answers = Tokens(), list[Answer]()
    for state, question in zip(states, questions, strict=True):
        text, label = state["answer"], number_in(question["answer"])
        predicted = number_in(text)
        tokens.add(state, "answer")
        shown = None if predicted is None else str(predicted)
        answers.append(Answer(question["question"], str(label), shown, text, predicted == label))
    settings = {"num_shots": len(shots), "max_new_tokens": max_new_tokens, "parallel": parallel}
    return Result("gsm8k", backend.name, answers, latency, tokens, settings)
