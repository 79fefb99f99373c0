"""Output under a constraint: records of a JSON schema with and without jump-forward, and what masks cost at 32 streams.

Both engines live in one process and take turns. Every constraint that is measured beside free text generates the same number
of tokens without jumping, so their difference is what masks cost.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from workbench.bench.overhead import taking_turns
from workbench.bench.report import machine, markdown_table
from workbench.config import ServerArgs

NAMES = (
    "Harry Potter", "Hermione Granger", "Ron Weasley", "Draco Malfoy",
    "Luna Lovegood", "Severus Snape", "Albus Dumbledore", "Sirius Black",
)  # fmt: skip
PROMPT = "Describe {name} from the Harry Potter books as a JSON record.\n"
SHORT = {"type": "string", "maxLength": 16}
NUM_STREAMS, NUM_TOKENS = 32, 64


def closed(**properties: Any) -> dict[str, Any]:
    """An object of exactly these properties, in this order."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


CHARACTER = closed(
    name=SHORT,
    house={"enum": ["Gryffindor", "Slytherin", "Ravenclaw", "Hufflepuff"]},
    blood_status={"enum": ["Pure-blood", "Half-blood", "Muggle-born"]},
    occupation={"enum": ["student", "teacher", "auror", "ministry of magic", "death eater", "order of the phoenix"]},
    wand=closed(wood=SHORT, core=SHORT, length={"type": "integer", "minimum": 1, "maximum": 99}),
    alive={"enum": ["Alive", "Deceased"]},
    patronus=SHORT,
)
MASKED: dict[str, dict[str, Any]] = {
    "any text": {"regex": r"(.|\n)*"},
    "counted words": {"regex": r"([a-z]{1,12}[ ,.])+"},
    "counted strings": {"json_schema": {"type": "array", "items": SHORT, "minItems": 99}},
    "free strings": {"json_schema": {"type": "array", "items": {"type": "string"}, "minItems": 99}},
}
"""Constraints under which `NUM_TOKENS` tokens never reach the end."""


def add_args(parser: argparse.ArgumentParser) -> None:
    ServerArgs.add_cli_args(parser)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each kind, interleaved (default: 5)")


def run(args: argparse.Namespace) -> int:
    import workbench

    options = ServerArgs.from_cli_args(args).to_dict()
    with (
        workbench.Engine(**{**options, "disable_jump_forward": False}) as on,
        workbench.Engine(**{**options, "disable_jump_forward": True}) as off,
    ):
        kinds: dict[str, Callable[[int], float]] = {
            f"{len(names)} records, jump-forward {name}": partial(records, engine, names)
            for names in (NAMES, NAMES[:1])
            for name, engine in (("on", on), ("off", off))
        }
        kinds |= {f"{NUM_STREAMS} streams, {name}": partial(tokens, off, how) for name, how in {**MASKED, "free": {}}.items()}
        seconds = taking_turns(list(kinds.values()), args.rounds)
    free = seconds[-1]
    rows = []
    for name, taken in zip(kinds, seconds, strict=True):
        cost = statistics.median(mask / without for mask, without in zip(taken, free, strict=True)) - 1
        rows.append([name, f"{statistics.median(taken):.3f}", f"{cost:+.1%}" if "streams" in name and taken is not free else ""])
    print(markdown_table(["workload", "seconds", "beside free text (median of pairs)"], rows))
    print(machine())
    return 0


def records(engine: Any, names: tuple[str, ...], seed: int) -> float:
    """Seconds for one record of each name; every one has to be whole."""
    engine.flush_cache()
    params = {"json_schema": CHARACTER, "temperature": 0, "max_new_tokens": 160}
    began = time.perf_counter()
    results = engine.generate([PROMPT.format(name=name) for name in names], params)
    seconds = time.perf_counter() - began
    for result in results:
        json.loads(result["text"])
    return seconds


def tokens(engine: Any, constraint: dict[str, Any], seed: int) -> float:
    """Seconds of a number of tokens that is the same with every constraint, and without one."""
    params = {"temperature": 0, "max_new_tokens": NUM_TOKENS, "ignore_eos": True}
    prompts = [f"{seed} {i}: " + PROMPT.format(name=NAMES[i % len(NAMES)]) for i in range(NUM_STREAMS)]
    began = time.perf_counter()
    results = engine.generate(prompts, params | constraint)
    seconds = time.perf_counter() - began
    assert all(len(result["output_ids"]) == NUM_TOKENS for result in results)
    return seconds
