"""Evaluations on an engine and on a server answer as a plain loop over the questions does."""

from __future__ import annotations

import csv
import json

import pytest

import workbench
from workbench.eval import gsm8k, mmlu
from workbench.eval.commands import run

pytestmark = pytest.mark.model
NEW_TOKENS = 16
SUMS = [(3, 4), (10, 5), (2, 2), (7, 1), (6, 6)]
FACTS = {
    "anatomy": [
        ("How many hands has a man?", "1,2,3,4", "B"), ("What pumps blood?", "liver,lung,heart,skin", "C"),
        ("How many eyes has a dog?", "2,4,6,8", "A"),
    ],
    "world_history": [
        ("Where is Rome?", "Spain,France,Peru,Italy", "D"), ("Who was Caesar?", "a Roman,a Greek,a dog,a ship", "A"),
        ("Where is Athens?", "Greece,Chile,India,Japan", "A"),
    ],
}  # fmt: skip
ENGINE = {"model_path": "smollm2-135m", "dtype": "float32", "max_total_tokens": 4000}


@pytest.fixture(scope="module")
def engine(smollm2):
    with workbench.Engine(**ENGINE) as engine:
        yield engine


@pytest.fixture(scope="module")
def sums(tmp_path_factory):
    lines = [{"question": f"Tom has {a} apples and finds {b}. How many has he?",
              "answer": f"{a} + {b} = <<{a}+{b}={a + b}>>{a + b}\n#### {a + b}"} for a, b in SUMS]  # fmt: skip
    path = tmp_path_factory.mktemp("gsm8k") / "test.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mmlu")
    for part in ("dev", "test"):
        (folder / part).mkdir()
        for name, rows in FACTS.items():
            with (folder / part / f"{name}_{part}.csv").open("w", newline="") as file:
                own = rows[:1] if part == "dev" else rows[1:]
                csv.writer(file).writerows([question, *choices.split(","), letter] for question, choices, letter in own)
    return folder


@pytest.fixture
def evaluated(real_server, tmp_path, capsys):
    """Function that runs a task on a backend and returns what was printed, the numbers, and the answers."""

    def evaluate(backend, *args):
        where = {"native": ["--backend", real_server.url], "openai": ["--backend", f"{real_server.url}/v1"]}
        engine = [word for name, value in ENGINE.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        numbers, answers = tmp_path / "result.jsonl", tmp_path / "answers.jsonl"
        more = where.get(backend, engine)
        assert run([*args, *more, "--result-file", str(numbers), "--answers", str(answers)]) == 0
        lines = [json.loads(line) for line in answers.read_text().splitlines()]
        return capsys.readouterr().out, json.loads(numbers.read_text()), lines

    return evaluate


@pytest.fixture(scope="module")
def said(engine, sums):
    """Texts that follow the sums, generated one by one."""
    questions = gsm8k.read(sums)
    examples = "".join(gsm8k.example(question, with_answer=True) for question in questions[:2])
    params = {"temperature": 0, "max_new_tokens": NEW_TOKENS, "stop": ["Question"]}
    prompts = [examples + gsm8k.example(question, with_answer=False) for question in questions[2:]]
    return [engine.generate(prompt, params)["text"] for prompt in prompts]


def likeliest(engine, prompt):
    """Returns the letter whose token has the greatest log-probability after the prompt."""
    one = {"max_new_tokens": 1, "temperature": 0}
    scores = {}
    for letter in mmlu.LETTERS:
        answer = engine.generate(f"{prompt} {letter}", one, return_logprob=True, logprob_start_len=0)
        logprob, _, _ = answer["meta_info"]["input_token_logprobs"][-1]
        scores[letter] = logprob
    return max(scores, key=scores.__getitem__)


@pytest.mark.parametrize("backend", ["engine", "native", "openai"])
def test_sums_are_answered_as_in_a_plain_loop(evaluated, sums, said, backend):
    args = ["--data", str(sums), "--num-shots", "2", "--max-new-tokens", str(NEW_TOKENS), "--parallel", "3"]
    printed, numbers, answers = evaluated(backend, "gsm8k", *args)
    assert [answer["text"] for answer in answers] == said
    right = [gsm8k.number_in(text) == a + b for text, (a, b) in zip(said, SUMS[2:], strict=True)]
    assert [answer["is_right"] for answer in answers] == right
    assert numbers["accuracy"] == pytest.approx(sum(right) / 3, abs=1e-4)
    assert (numbers["task"], numbers["num_requests"]) == ("gsm8k", 3)
    assert numbers["cache_hit_rate"] > 0.5
    for line in ("Accuracy: ", "Invalid: ", "Latency: ", "Output throughput: ", "Cache hit rate: "):
        assert line in printed


@pytest.mark.parametrize("method", ["logprob", "generate"])
@pytest.mark.parametrize("backend", ["native", "openai"])
def test_letters_are_those_of_a_plain_loop(evaluated, engine, facts, backend, method):
    _, numbers, answers = evaluated(backend, "mmlu", "--data", str(facts), "--num-shots", "1", "--method", method)
    prompts = [each.examples(1) + question.prompt() for each in mmlu.read(facts) for question in each.questions]
    if method == "logprob":
        expected = [likeliest(engine, prompt) for prompt in prompts]
    else:
        one = {"max_new_tokens": 1, "temperature": 0}
        expected = [mmlu.letter_in(engine.generate(prompt, one)["text"]) for prompt in prompts]
    assert [answer["predicted"] for answer in answers] == expected
    right = [predicted == answer["label"] for predicted, answer in zip(expected, answers, strict=True)]
    assert numbers["accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-4)
    assert list(numbers["subjects"]) == ["anatomy", "world_history"]


@pytest.mark.parametrize(
    "args, says",
    [
        (["gsm8k", "--data", "missing.jsonl"], "none is shipped"), (["mmlu", "--data", "missing"], "dev/NAME_dev.csv"),
        (["gsm8k", "--data", "SUMS", "--num-shots", "5"], "less than"),
        (["gsm8k", "--data", "SUMS", "--parallel", "0"], "parallel"),
        (["gsm8k", "--data", "SUMS", "--num-questions", "0"], "num_questions"),
        (["mmlu", "--data", "FACTS", "--num-shots", "2"], "at most 1"),
        (["gsm8k", "--data", "SUMS", "--num-shots", "1", "--backend", "http://127.0.0.1:9"], "127.0.0.1:9"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_an_error_in_two_lines(sums, facts, capsys, args, says):
    names = {"SUMS": str(sums), "FACTS": str(facts)}
    assert run([names.get(arg, arg) for arg in args]) == 2
    assert says in capsys.readouterr().err
