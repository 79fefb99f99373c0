"""Output under a constraint: records of a JSON schema with and without jump-forward, and what masks cost at 32 streams."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from workbench.bench.masks import masks, whole_batches
from workbench.bench.overhead import taking_turns
from workbench.bench.report import Rows, add_row_args, markdown_table, run_rows
from workbench.config import ServerArgs

NAMES = (
    "Harry Potter", "Hermione Granger", "Ron Weasley", "Draco Malfoy",
    "Luna Lovegood", "Severus Snape", "Albus Dumbledore", "Sirius Black",
)  # fmt: skip
PROMPT = "Describe {name} from the Harry Potter books as a JSON record.\n"
SHORT = {"type": "string", "maxLength": 16}


def closed(**properties: Any) -> dict[str, Any]:
    """Returns the schema of an object with exactly these properties, in this order."""
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


def add_args(parser: argparse.ArgumentParser) -> None:
    add_row_args(parser, ROWS)


def run(args: argparse.Namespace) -> int:
    return run_rows(args, ROWS)


def jumping(server_args: ServerArgs, rounds: int) -> str:
    """Measures records of a schema, with forced text written at once and token by token."""
    import workbench

    options = server_args.to_dict()
    with (
        workbench.Engine(**{**options, "disable_jump_forward": False}) as on,
        workbench.Engine(**{**options, "disable_jump_forward": True}) as off,
    ):
        kinds: dict[str, Callable[[int], float]] = {
            f"{len(names)} records, jump-forward {name}": partial(records, engine, names)
            for names in (NAMES, NAMES[:1])
            for name, engine in (("on", on), ("off", off))
        }
        seconds = taking_turns(list(kinds.values()), rounds)
    rows = [[name, f"{statistics.median(taken):.3f}"] for name, taken in zip(kinds, seconds, strict=True)]
    return markdown_table(["workload", "seconds"], rows)


ROWS: Rows = {"records": jumping, "masks": masks, "batches": whole_batches}


def records(engine: Any, names: tuple[str, ...], seed: int) -> float:
    """Returns the seconds for one record of each name; each has to be whole."""
    engine.flush_cache()
    params = {"json_schema": CHARACTER, "temperature": 0, "max_new_tokens": 160}
    began = time.perf_counter()
    results = engine.generate([PROMPT.format(name=name) for name in names], params)
    seconds = time.perf_counter() - began
    for result in results:
        json.loads(result["text"])
    return seconds
