"""Measures one reader on one schema: whether it takes the schema, its times, and the texts it lets through."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable
from typing import Any

from workbench.bench.schemas.draws import Walker
from workbench.bench.schemas.judge import Judge, exact_value
from workbench.bench.schemas.readers import Compiled, Position, Reader, Refused
from workbench.bench.schemas.sets import Case
from workbench.bench.schemas.spelling import FEW_TRIES, Layout, Ways, written
from workbench.grammar import Vocabulary
from workbench.grammar.mask import any_allowed

Row = dict[str, Any]
MAX_TIMED = 2000
"""Tokens of one instance whose masks are timed; the rest of it is only checked."""
WAYS = {
    "key order": Ways(),
    "number spelling": Ways(numbers=True),
    "separators": Ways(numbers=True, separators=True),
}
"""The ways to write a valid instance, by the reason why it was not taken as it was written first."""
QUICKLY = Ways(max_tries=FEW_TRIES)
FORMAT, UNLISTED, OTHER_TYPE = "formats are enforced", "names or items that are not listed", "a type that is not named"
NARROWED = (FORMAT, UNLISTED, OTHER_TYPE)
"""Rules by which a valid instance cannot be written at all."""


class Measure:
    """One reader and a vocabulary."""

    def __init__(self, name: str, reader: Reader, vocabulary: Vocabulary) -> None:
        self.name, self._reader = name, reader
        self._encode = vocabulary.hf.backend_tokenizer.encode
        self._walker = Walker(vocabulary)

    def row(self, case: Case, num_draws: int, seed: int = 0, note: Callable[[Row], None] = lambda row: None) -> Row:
        """Returns the row of a case. `note` gets the values known so far, for a caller that may have to stop waiting."""
        row = bare_row(self.name, case)
        began = time.perf_counter()
        try:
            compiled = self._reader.compile(case.schema)
        except Refused as refused:
            return row | {"why": str(refused), "wait_s": time.perf_counter() - began}
        row |= {"taken": True, "wait_s": time.perf_counter() - began, "compile_s": compiled.compile_s}
        row |= {"where": compiled.where, "unenforced": list(compiled.unenforced), "cut": "measuring"}
        note(row)
        judge = Judge(case.schema, compiled.unenforced)
        row |= self._instances(case, compiled, judge)
        note(row)
        row |= self._draws(case, compiled, judge, num_draws, seed)
        del row["cut"]
        return row

    def _instances(self, case: Case, compiled: Compiled, judge: Judge) -> Row:
        layout = Layout(case.schema)
        masks: list[int] = []
        counts = {"valid": 0, "valid_taken": 0, "invalid": 0, "excused": 0, "disputed": 0}
        rejected, accepted = [], []
        for number, (is_valid, data) in enumerate(case.tests):
            value = layout.ordered(data)
            text = written(value)
            counts["valid" if is_valid else "invalid"] += 1
            is_taken = self._follow(compiled.start(), text, masks if is_valid else None)
            if is_valid and is_taken:
                counts["valid_taken"] += 1
            elif is_valid:
                why = self._why_rejected(compiled, value, judge, layout)
                if why == "disputed" and not case.of_suite:
                    counts["disputed"] += 1
                else:
                    fits = _num_fit(compiled, text)
                    shown = {"fits": text[max(0, fits - 200) : fits], "then": text[fits : fits + 100]}
                    rejected.append({"test": number, "why": why, **shown})
            elif is_taken or QUICKLY.fits(compiled.start(), value):
                judged = judge.value(exact_value(text))
                if judged.verdict == "excused":
                    counts["excused"] += 1
                elif judged.verdict == "valid" and not case.of_suite:
                    counts["disputed"] += 1
                else:
                    accepted.append({"test": number, "why": judged.why, "text": text[:400]})
        return {**counts, "rejected": rejected, "accepted": accepted, "masks_us": masks}

    def _follow(self, position: Position, text: str, masks: list[int] | None) -> bool:
        """Returns whether the text is taken, token by token as the tokenizer cuts it; appends mask times to `masks`."""
        walker = self._walker
        ids = self._encode(text, add_special_tokens=False).ids
        if b"".join(walker.pieces[i] for i in ids) != text.encode("utf-8", "surrogatepass"):
            return position.feed(text.encode("utf-8", "surrogatepass")) and position.is_complete
        for number, token in enumerate(ids):
            is_timed = number < MAX_TIMED and masks is not None
            if masks is not None and is_timed:
                began = time.thread_time_ns()  # of the processor: what else runs on the machine is not counted
                position.fill(walker.mask)
                masks.append((time.thread_time_ns() - began) // 1000)
            in_mask = any_allowed(walker.mask, [token])
            is_taken = position.take(token)
            if is_timed and in_mask != is_taken:
                raise RuntimeError(f"token {token} of {text[:200]!r}: in the mask {in_mask}, accepted {is_taken}")
            if not is_taken:
                return False
        return position.is_complete

    def _why_rejected(self, compiled: Compiled, value: Any, judge: Judge, layout: Layout) -> str:
        for why, ways in WAYS.items():
            if ways.fits(compiled.start(), value):
                return why
        judged = judge.value(exact_value(written(value)))
        if judged.verdict in ("invalid", "excused"):
            return FORMAT if ": format: " in judged.why else "disputed"
        unlisted = layout.unlisted(value)
        if unlisted and WAYS["number spelling"].fits(compiled.start(), value, unlisted):
            return UNLISTED
        return OTHER_TYPE if layout.has_other_type(value) else "other"

    def _draws(self, case: Case, compiled: Compiled, judge: Judge, num_draws: int, seed: int) -> Row:
        counts = {"draws": 0, "unfinished": 0, "draws_excused": 0, "unjudged": 0}
        bad = []
        rng = random.Random(zlib.crc32(case.name.encode()) ^ seed)
        for number in range(num_draws):
            text = self._walker.draw(compiled.start(), rng, by_byte=number % 2 == 1)
            if text is None:
                counts["unfinished"] += 1
                continue
            counts["draws"] += 1
            judged = judge.text(text)
            if judged.verdict == "excused":
                counts["draws_excused"] += 1
            elif judged.verdict == "unjudged":
                counts["unjudged"] += 1
                counts.setdefault(f"unjudged: {judged.why[:80]}", 0)
            elif judged.verdict == "invalid":
                bad.append({"text": text.decode("utf-8", "backslashreplace")[:400], "why": judged.why})
        return {**counts, "bad": bad}


def bare_row(reader: str, case: Case) -> Row:
    """Returns the row of a case that was not taken yet."""
    num_valid = sum(is_valid for is_valid, _ in case.tests)
    known = {"name": case.name, "family": case.family, "of_suite": case.of_suite, "num_valid": num_valid}
    return {"reader": reader, **known, "taken": False}


def _num_fit(compiled: Compiled, text: str) -> int:
    """Returns the number of characters of the text that are taken."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if compiled.start().feed(text[:middle].encode("utf-8", "surrogatepass")):
            low = middle
        else:
            high = middle - 1
    return low
