"""Logits become tokens: each row is edited by its request's parameters, then one token is drawn from it.

Edits happen in this order: custom processor, logit_bias, penalties (repetition, then frequency and presence),
suppressed ids, grammar mask; after them the greedy choice, or temperature, top_k, top_p, min_p and the draw
(`workbench.engine.draw`). Log-probabilities are those of the logits as the model gave them.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from msgspec import structs
from torch import Tensor

from workbench.engine.detail import details
from workbench.engine.draw import draw, leaders, uniform
from workbench.engine.plan import GRAMMAR_FAILED, NAN, NOTHING_ALLOWED, PROCESSOR_FAILED, Sampled, SampleRow
from workbench.errors import in_one_line
from workbench.grammar.mask import num_words
from workbench.kernels.ops import argmax, mask_rows_
from workbench.types import TokenLogprob

logger = logging.getLogger("workbench.engine")
_NAN = "the logits contain NaN at output position {}; with enable_nan_detection=True such tokens are passed over, with a warning"
SCORED_AT_ONCE = 64
"""Rows whose log-probabilities are in memory together."""


class Sampler:
    """Keeps nothing between steps: a row's token follows from its logits and its `SampleRow` alone."""

    def __init__(self, vocab_size: int, *, detect_nan: bool = False) -> None:
        """Samples over `vocab_size` tokens. A row with NaN has no token, but an error; with `detect_nan` a warning, and a token
        that has no NaN."""
        self.vocab_size = vocab_size
        self._detect_nan = detect_nan

    def sample(self, logits: Tensor, rows: Sequence[SampleRow], *, detail: bool = False) -> tuple[Sampled, ...]:
        """Returns one token per row of `logits` [R, V], which it overwrites. Raises nothing that is one row's fault.

        With `detail` each token comes with its `TokenDetail`, and is the same token.
        """
        failed: dict[int, Sampled] = {}
        masks = _masks(rows, logits.shape[1], failed)  # before anything waits for the logits of another device
        if not detail:
            return self._sample(logits, rows, masks, failed)
        original, copied_s = _copy(logits)
        sampled = self._sample(logits, rows, masks, failed)
        constrained = {} if masks is None else {i: masks[i] for i, row in enumerate(rows) if row.matcher is not None}
        told = details(original, [s.token_id for s in sampled], constrained, copied_s)
        return tuple(structs.replace(s, detail=d) for s, d in zip(sampled, told, strict=True))

    def _sample(
        self, logits: Tensor, rows: Sequence[SampleRow], masks: np.ndarray[Any, Any] | None, failed: dict[int, Sampled]
    ) -> tuple[Sampled, ...]:
        num_allowed = _num_allowed(rows, masks)
        if all(map(_is_plain, rows)) and not self._detect_nan and not failed:
            _suppress(logits, rows)
            best, peak = argmax(logits, masks)
            if peak.isfinite().all():
                return tuple(Sampled(token, None, num) for token, num in zip(best.tolist(), num_allowed, strict=True))
        logits = logits.float()
        if self._detect_nan:
            for i in logits.amax(-1).isnan().nonzero().flatten().tolist():
                _mend(logits[i], rows[i], "the model's")
        scored = [i for i, row in enumerate(rows) if row.return_logprob]
        original = logits[scored] if scored else logits
        _run_processors(logits, rows, failed)
        _add_bias(logits, rows)
        _penalise(logits, rows)
        _suppress(logits, rows)
        if masks is not None:
            mask_rows_(logits, masks)
        tokens = self._choose(logits, rows, failed)
        wanted = [(tokens[i], rows[i].top_logprobs_num, rows[i].token_ids_logprob) for i in scored]
        by_row = dict(zip(scored, _token_logprobs(original, wanted), strict=True)) if scored else {}
        logprob_of = {i: functools.partial(_logprob_of, original[k]) for k, i in enumerate(scored) if rows[i].matcher is not None}
        return tuple(
            failed.get(i) or Sampled(tokens[i], by_row.get(i), num_allowed[i], logprob_of=logprob_of.get(i))
            for i in range(len(rows))
        )

    def score(
        self, logits: Tensor, ids: Sequence[int], top_logprobs_num: int = 0, token_ids_logprob: tuple[int, ...] = ()
    ) -> tuple[TokenLogprob, ...]:
        """Returns the log-probability of `ids[i]` under `logits[i]`, for each row of `logits` [N, V]. Reads only."""
        scores: list[TokenLogprob] = []
        for start in range(0, len(ids), SCORED_AT_ONCE):
            part = ids[start : start + SCORED_AT_ONCE]
            wanted = zip(part, repeat(top_logprobs_num), repeat(token_ids_logprob))
            scores += _token_logprobs(logits[start : start + len(part)], list(wanted))
        return tuple(scores)

    def _choose(self, logits: Tensor, rows: Sequence[SampleRow], failed: dict[int, Sampled]) -> list[int]:
        best, peak = argmax(logits)
        for i in (~peak.isfinite()).nonzero().flatten().tolist():
            if i not in failed and logits[i].isnan().any():
                if self._detect_nan:
                    _mend(logits[i], rows[i], "the edited")
                else:
                    failed[i] = Sampled(NAN, error=_NAN.format(rows[i].position))
            if i not in failed and not _repair(logits[i]):
                failed[i] = Sampled(NOTHING_ALLOWED, error=rows[i].why_nothing)
            best[i : i + 1], peak[i : i + 1] = argmax(logits[i : i + 1])
        tokens: list[int] = best.tolist()
        drawn = [i for i, row in enumerate(rows) if i not in failed and not row.params.is_greedy]
        if drawn:
            uniforms = [uniform(rows[i].seed, rows[i].position) for i in drawn]
            of_drawn = (logits, peak) if len(drawn) == len(rows) else (logits[drawn], peak[drawn])
            for i, token in zip(drawn, draw(*of_drawn, [rows[i].params for i in drawn], uniforms), strict=True):
                tokens[i] = token
        return tokens


def _copy(logits: Tensor) -> tuple[Tensor, float]:
    """Returns a copy, and the seconds that it took."""
    started = time.perf_counter()
    return logits.clone(), time.perf_counter() - started


def _is_plain(row: SampleRow) -> bool:
    """Returns whether a row needs the maximum of its logits only: greedy, with no edit but forbidden tokens."""
    if row.processor is not None or row.return_logprob:
        return False
    params = row.params
    return params.is_greedy and not params.logit_bias and not params.has_penalties


def _mend(row: Tensor, of: SampleRow, whose: str) -> None:
    """Changes: tokens with NaN in a row [V] are never drawn; where there are no others, all of them are equally likely."""
    is_nan = row.isnan()
    is_all = not (row > -torch.inf).any()
    then = "each of them is as likely as the others" if is_all else "they are not drawn"
    logger.warning(
        "NaN in %s logits of %d of %d tokens, at output position %d: %s", whose, is_nan.sum(), len(row), of.position, then
    )
    row.masked_fill_(is_nan, 0.0 if is_all else -torch.inf)


def _repair(row: Tensor) -> bool:
    """Makes a row [V] with infinity one that can be drawn from. Returns False if nothing is left to draw."""
    if (certain := row == torch.inf).any():
        row.copy_(torch.where(certain, 0.0, -torch.inf))
    return bool((row > -torch.inf).any())


def _run_processors(logits: Tensor, rows: Sequence[SampleRow], failed: dict[int, Sampled]) -> None:
    """Changes: processes rows with the same processor together; if it fails for them, each alone."""
    groups: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        if row.processor is not None:
            groups.setdefault(id(row.processor), []).append(i)
    for members in groups.values():
        error = _process(logits, rows, members)
        for i in members if error else ():
            alone = error if len(members) == 1 else _process(logits, rows, [i])
            if alone:
                failed[i] = Sampled(PROCESSOR_FAILED, error=alone)


def _process(logits: Tensor, rows: Sequence[SampleRow], members: list[int]) -> str:
    """Writes the processor's result into the rows `members`; on an error leaves them alone and returns a message."""
    processor = rows[members[0]].processor
    assert processor is not None
    name = f"the custom logit processor {type(processor).__name__}"
    given = logits[members]  # a copy, so that edits in place before an error are lost
    try:
        result = processor(given, [dict(rows[i].params.custom_params or {}) for i in members])
        if not isinstance(result, Tensor) or result.shape != given.shape:
            shown = f"a tensor of shape {list(result.shape)}" if isinstance(result, Tensor) else repr(result)[:80]
            return f"{name} returned {shown}, it must be a tensor of shape {list(given.shape)}"
        logits[members] = result.detach().to(logits)
    except (Exception, SystemExit) as error:  # SystemExit: code that calls exit() must not end the engine
        return f"{name} raised {in_one_line(error)}"
    return ""


def _add_bias(logits: Tensor, rows: Sequence[SampleRow]) -> None:
    for i, row in enumerate(rows):
        if bias := row.params.logit_bias:
            logits[i, list(bias)] += torch.tensor([*map(float, bias.values())], device=logits.device)


def _penalise(logits: Tensor, rows: Sequence[SampleRow]) -> None:
    """Changes: applies the penalties of each row.

    Repetition divides (if positive) or multiplies (if negative) the logits of tokens seen in prompt or output. Frequency is
    subtracted per occurrence in the output, presence once for any.
    """
    for i, row in enumerate(rows):
        params = row.params
        if not params.has_penalties:
            continue
        generated, counts = np.unique(np.array(row.output_ids, dtype=np.int64), return_counts=True)
        if params.repetition_penalty != 1.0:
            ids = np.union1d(_distinct(row.prompt_ids), generated)
            seen = torch.from_numpy(ids[ids < logits.shape[1]]).to(logits.device)  # a picture's token may have no logit
            values = logits[i, seen]
            logits[i, seen] = torch.where(values > 0, values / params.repetition_penalty, values * params.repetition_penalty)
        if params.frequency_penalty or params.presence_penalty:
            penalties = torch.from_numpy(params.frequency_penalty * counts + params.presence_penalty).to(logits)
            logits[i, torch.from_numpy(generated).to(logits.device)] -= penalties


@functools.lru_cache(maxsize=64)
def _distinct(prompt_ids: tuple[int, ...]) -> np.ndarray:
    """Returns the distinct ids; cached, since a prompt is the same at every step."""
    return np.unique(np.array(prompt_ids, dtype=np.int64))


def _suppress(logits: Tensor, rows: Sequence[SampleRow]) -> None:
    pairs = [(i, token) for i, row in enumerate(rows) for token in row.suppress]
    if pairs:
        index = torch.tensor(pairs, device=logits.device)
        logits[index[:, 0], index[:, 1]] = -torch.inf


def _masks(rows: Sequence[SampleRow], vocab_size: int, failed: dict[int, Sampled]) -> np.ndarray[Any, Any] | None:
    """Returns the bits that each row's grammar allows: int32 [R, words], all ones for rows without; None if no row has one."""
    if not any(row.matcher is not None for row in rows):
        return None
    masks = np.full((len(rows), num_words(vocab_size)), -1, dtype=np.int32)
    for i, row in enumerate(rows):
        try:
            if row.matcher is not None:
                row.matcher.fill_mask(masks[i])
        except Exception as error:
            failed[i] = Sampled(GRAMMAR_FAILED, error=f"the grammar failed at output position {row.position}: {error}")
    return masks


def _num_allowed(rows: Sequence[SampleRow], masks: np.ndarray[Any, Any] | None) -> list[int | None]:
    """Returns the number of tokens that the grammar of each row leaves; None for rows without."""
    if masks is None:
        return [None] * len(rows)
    counts = np.bitwise_count(masks.view(np.uint32)).sum(1, dtype=np.int64).tolist()
    return [count if row.matcher is not None else None for row, count in zip(rows, counts, strict=True)]


def _logprob_of(logits: Tensor, token_id: int) -> float:
    return float(torch.log_softmax(logits.float(), -1)[token_id])


def _token_logprobs(logits: Tensor, wanted: Sequence[tuple[int, int, tuple[int, ...]]]) -> list[TokenLogprob]:
    """Returns log-probabilities of each row of `logits` [N, V]; `wanted` has (token id, number of best tokens, other ids)."""
    logprobs = torch.log_softmax(logits.float(), -1)
    device = logits.device
    ids = torch.tensor([token for token, _, _ in wanted], device=device).clamp_min(0)
    own = logprobs.gather(1, ids[:, None])[:, 0].tolist()
    num_top = max(num for _, num, _ in wanted)
    values, best = (table.tolist() for table in leaders(logprobs, num_top)) if num_top else (repeat(()), repeat(()))
    rows = [i for i, (_, _, others) in enumerate(wanted) for _ in others]
    others = list(chain.from_iterable(others for _, _, others in wanted))
    found = iter(logprobs[rows, others].tolist() if others else ())
    return [
        TokenLogprob(token, logprob, tuple(zip(v[:num], b[:num], strict=True)), tuple((next(found), i) for i in chosen))
        for (token, num, chosen), logprob, v, b in zip(wanted, own, values, best)  # noqa: B905 - repeat() never ends
    ]
