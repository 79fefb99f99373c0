"""Structured programs as this engine runs them, and the same work for a system without programs.

A `Work` is text: a prefix that all items share, and the items. Here it becomes a program, whose prefix is computed once;
elsewhere every item is a request of its own, prefix and item together (`peer_scripts/protocol.py`).
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from workbench.bench.structured import CHARACTER, NAMES, PROMPT
from workbench.lang.program import function
from workbench.lang.state import ProgramState
from workbench.lang.verbs import gen, select

WORDS = (
    "time year people way day man thing woman life child world school state family student group country problem hand part place "
    "case week company system program question work government number night point home water room mother area money story fact "
    "month lot right study book eye job word business issue side kind head house service friend father power hour game line end "
    "member law car city community name president team minute idea kid body information back parent face others level office"
).split()
OPTIONS = (" science", " music", " sport", " history of art")


@dataclass(frozen=True, slots=True)
class Work:
    """`kind` fork: one state forked into one branch per item. batch: one program run over the items. select: the same,
    with a choice among `options` instead of `new_tokens` greedy tokens. records: a JSON text of `schema` for each item, sent
    at once, of at most `new_tokens`."""

    kind: str
    prefix: str
    items: tuple[str, ...]
    new_tokens: int = 0
    options: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Job:
    """A kind of work, with new text for every seed. Lengths are words, which are about as many tokens."""

    name: str
    kind: str
    num_items: int
    prefix_words: int
    item_words: int
    new_tokens: int = 0
    unit: ClassVar[str] = "s"

    def figure(self, seconds: float) -> float:
        """Returns the reported number for work that took `seconds`."""
        return seconds

    def work(self, seed: int) -> Work:
        rng = random.Random(f"{self.name}/{seed}")
        items = tuple(f"\n{i}. {_sentence(rng, self.item_words)}:" for i in range(1, self.num_items + 1))
        options = OPTIONS if self.kind == "select" else ()
        return Work(self.kind, _sentence(rng, self.prefix_words), items, self.new_tokens, options)


@dataclass(frozen=True, slots=True)
class Records:
    """One record of the character schema for each of the first `num_items` names."""

    name: str
    num_items: int
    new_tokens: int = 160
    unit: ClassVar[str] = "s"

    def figure(self, seconds: float) -> float:
        """Returns the reported number for work that took `seconds`."""
        return seconds

    def work(self, seed: int) -> Work:
        """Returns the work, the same in every round."""
        items = tuple(PROMPT.format(name=name) for name in NAMES[: self.num_items])
        return Work("records", "", items, self.new_tokens, schema=CHARACTER)


RECORDS = (Records("8 records of a JSON schema", 8), Records("1 record", 1))
JOBS = (
    Job("fork of 8 from 500 tokens → 32", "fork", num_items=8, prefix_words=500, item_words=8, new_tokens=32),
    Job("64 few-shot questions → 16", "batch", num_items=64, prefix_words=400, item_words=16, new_tokens=16),
    Job("100 questions, 1 of 4 options", "select", num_items=100, prefix_words=150, item_words=16),
)


def do(work: Work, backend: Any) -> dict[str, Any]:
    """Runs the work as a program: `{"num_tokens": [per item]}` or `{"choices": [index per item]}`, and the tokens of all
    prompts that were found in the cache and that were computed. For records `{"texts": [per item]}`; `backend` is an engine."""
    if work.kind == "records":
        params = {"json_schema": work.schema, "temperature": 0, "max_new_tokens": work.new_tokens}
        return {"texts": [result["text"] for result in backend.generate(list(work.items), params)]}
    states = _fork(work, backend) if work.kind == "fork" else _batch(work, backend)
    metas = [state.get_meta_info("answer") for state in states]
    totals = {f"{kind}_tokens": sum(meta[f"{kind}_tokens"] for meta in metas) for kind in ("prompt", "cached")}
    if work.kind == "select":
        return {"choices": [work.options.index(state["answer"]) for state in states], **totals}
    return {"num_tokens": [meta["completion_tokens"] for meta in metas], **totals}


def _answer(work: Work) -> Any:
    if work.kind == "select":
        return select("answer", choices=list(work.options))
    return gen("answer", max_tokens=work.new_tokens, temperature=0, ignore_eos=True)


def _fork(work: Work, backend: Any) -> list[ProgramState]:
    branches: list[ProgramState] = []

    @function
    def program(s: ProgramState) -> None:
        s += work.prefix
        forks = s.fork(len(work.items))
        for fork, item in zip(forks, work.items, strict=True):
            fork += item
            fork += _answer(work)
        forks.join()
        branches.extend(forks)

    program.run(backend=backend)
    return branches


def _batch(work: Work, backend: Any) -> list[ProgramState]:
    @function
    def program(s: ProgramState, item: str) -> None:
        s += work.prefix
        s += item
        s += _answer(work)

    return program.run_batch([{"item": item} for item in work.items], backend=backend)


def _sentence(rng: random.Random, num_words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(num_words)).capitalize()
