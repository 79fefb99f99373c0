"""Logits become tokens: each row is edited as its request asks, then one token is drawn from it.

Edits happen in this order: custom processor, logit_bias, penalties (repetition, then frequency and presence),
suppressed ids, grammar mask; after them the greedy choice, or temperature, top_k, top_p, min_p and the draw
(`workbench.engine.draw`). Log-probabilities are those of the logits as the model gave them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.engine.draw import draw, leaders, uniform
from workbench.engine.plan import GRAMMAR_FAILED, NAN, NOTHING_ALLOWED, PROCESSOR_FAILED, Sampled, SampleRow
from workbench.errors import in_one_line
from workbench.types import TokenLogprob

FEW_WORDS = 256
"""Words of a mask with some token allowed (or some forbidden), up to which these tokens are looked at one by one."""
SCORED_AT_ONCE = 64
"""Rows whose log-probabilities are in memory together."""


class Sampler:
    """Keeps nothing between steps: a row's token follows from its logits and its `SampleRow` alone."""

    def __init__(self, vocab_size: int, *, detect_nan: bool = False) -> None:
        """With `detect_nan` a row that contains NaN gives no token; without it, only the tokens with NaN are never drawn."""
        self.vocab_size = vocab_size
        self._detect_nan = detect_nan

    def sample(self, logits: Tensor, rows: Sequence[SampleRow]) -> tuple[Sampled, ...]:
        """One token per row of `logits` [R, V] float32, which this overwrites. Never raises for what a row asks."""
        if all(map(_is_plain, rows)):
            best, peak = _best(logits)
            if peak.isfinite().all():
                return tuple(map(Sampled, best.tolist()))
        failed: dict[int, Sampled] = {}
        if self._detect_nan:
            for i in logits.amax(-1).isnan().nonzero().flatten().tolist():
                failed[i] = Sampled(NAN, error="the model's logits contain NaN")
        scored = [i for i, row in enumerate(rows) if row.return_logprob]
        original = logits[scored] if scored else logits
        _run_processors(logits, rows, failed)
        _add_bias(logits, rows)
        _penalise(logits, rows)
        _suppress(logits, rows)
        num_allowed = _mask(logits, rows, failed)
        tokens = self._choose(logits, rows, failed)
        wanted = [(tokens[i], rows[i].top_logprobs_num, rows[i].token_ids_logprob) for i in scored]
        by_row = dict(zip(scored, _token_logprobs(original, wanted), strict=True)) if scored else {}
        logprob_of = {i: functools.partial(_logprob_of, original[k]) for k, i in enumerate(scored) if rows[i].matcher is not None}
        return tuple(
            failed.get(i) or Sampled(tokens[i], by_row.get(i), num_allowed.get(i), logprob_of=logprob_of.get(i))
            for i in range(len(rows))
        )

    def score(
        self, logits: Tensor, ids: Sequence[int], top_logprobs_num: int = 0, token_ids_logprob: tuple[int, ...] = ()
    ) -> tuple[TokenLogprob, ...]:
        """Log-probability of `ids[i]` under `logits[i]`, for each row of `logits` [N, V]. Reads only."""
        scores: list[TokenLogprob] = []
        for start in range(0, len(ids), SCORED_AT_ONCE):
            part = ids[start : start + SCORED_AT_ONCE]
            wanted = zip(part, repeat(top_logprobs_num), repeat(token_ids_logprob))
            scores += _token_logprobs(logits[start : start + len(part)], list(wanted))
        return tuple(scores)

    def _choose(self, logits: Tensor, rows: Sequence[SampleRow], failed: dict[int, Sampled]) -> list[int]:
        best, peak = _best(logits)
        for i in (~peak.isfinite()).nonzero().flatten().tolist():
            if i not in failed and not _repair(logits[i]):
                failed[i] = Sampled(NOTHING_ALLOWED, error=_why_nothing(rows[i]))
            best[i : i + 1], peak[i : i + 1] = _best(logits[i : i + 1])
        tokens: list[int] = best.tolist()
        drawn = [i for i, row in enumerate(rows) if i not in failed and not row.params.is_greedy]
        if drawn:
            uniforms = [uniform(rows[i].seed, rows[i].position) for i in drawn]
            of_drawn = (logits, peak) if len(drawn) == len(rows) else (logits[drawn], peak[drawn])
            for i, token in zip(drawn, draw(*of_drawn, [rows[i].params for i in drawn], uniforms), strict=True):
                tokens[i] = token
        return tokens


def _is_plain(row: SampleRow) -> bool:
    """Greedy, with nothing that edits the logits or needs more than their maximum."""
    if row.processor is not None or row.matcher is not None or row.suppress or row.return_logprob:
        return False
    params = row.params
    return params.is_greedy and not params.logit_bias and not params.has_penalties


def _best(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Id (the lowest among equals) and value of each row's maximum; NaN counts as the maximum."""
    best = logits.argmax(-1)
    return best, logits.gather(1, best[:, None])[:, 0]


def _repair(row: Tensor) -> bool:
    """Makes a row [V] with NaN or infinity one that can be drawn from; False when nothing is left to draw."""
    row.masked_fill_(row.isnan(), -torch.inf)
    if (certain := row == torch.inf).any():
        row.copy_(torch.where(certain, 0.0, -torch.inf))
    return bool((row > -torch.inf).any())


def _why_nothing(row: SampleRow) -> str:
    edits = {
        "grammar": row.matcher is not None,
        "custom logit processor": row.processor is not None,
        "logit_bias": bool(row.params.logit_bias),
        "min_new_tokens": bool(row.suppress),
    }
    causes = " and ".join(name for name, given in edits.items() if given)
    return f"no token is allowed at output position {row.position}: {causes or 'the model'} left none"


def _run_processors(logits: Tensor, rows: Sequence[SampleRow], failed: dict[int, Sampled]) -> None:
    """Rows with the same processor go through it together; if it fails for them, each goes alone."""
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
    """Writes the processor's result into the rows `members`; on an error leaves them alone and says what it was."""
    processor: Any = rows[members[0]].processor
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
    """Repetition: logits of tokens seen in prompt or output are divided (if positive) or multiplied (if negative).

    Frequency is subtracted per occurrence in the output, presence once for any.
    """
    for i, row in enumerate(rows):
        params = row.params
        if not params.has_penalties:
            continue
        generated, counts = np.unique(np.array(row.output_ids, dtype=np.int64), return_counts=True)
        if params.repetition_penalty != 1.0:
            seen = torch.from_numpy(np.union1d(_distinct(row.prompt_ids), generated)).to(logits.device)
            values = logits[i, seen]
            logits[i, seen] = torch.where(values > 0, values / params.repetition_penalty, values * params.repetition_penalty)
        if params.frequency_penalty or params.presence_penalty:
            penalties = torch.from_numpy(params.frequency_penalty * counts + params.presence_penalty).to(logits)
            logits[i, torch.from_numpy(generated).to(logits.device)] -= penalties


@functools.lru_cache(maxsize=64)
def _distinct(prompt_ids: tuple[int, ...]) -> np.ndarray:
    """Kept, since a prompt is the same at every step."""
    return np.unique(np.array(prompt_ids, dtype=np.int64))


def _suppress(logits: Tensor, rows: Sequence[SampleRow]) -> None:
    pairs = [(i, token) for i, row in enumerate(rows) for token in row.suppress]
    if pairs:
        index = torch.tensor(pairs, device=logits.device)
        logits[index[:, 0], index[:, 1]] = -torch.inf


def _mask(logits: Tensor, rows: Sequence[SampleRow], failed: dict[int, Sampled]) -> dict[int, int]:
    """Sets what each row's grammar forbids to -inf; gives the number of tokens each grammar allows."""
    matched = [i for i, row in enumerate(rows) if row.matcher is not None and i not in failed]
    if not matched:
        return {}
    vocab_size = logits.shape[1]
    masks = np.zeros((len(matched), -(-vocab_size // 32)), dtype=np.int32)
    for mask, i in zip(masks, matched, strict=True):
        try:
            rows[i].matcher.fill_mask(mask)
        except Exception as error:
            failed[i] = Sampled(GRAMMAR_FAILED, error=f"the grammar failed at output position {rows[i].position}: {error}")
    counts = {i: _keep(logits[i], mask) for i, mask in zip(matched, masks, strict=True)}
    return {i: count for i, count in counts.items() if i not in failed}


def _keep(row: Tensor, mask: np.ndarray) -> int:
    """Sets what `mask` leaves out of `row` [V] to -inf; how many stay. Few are gathered, few others are struck out."""
    words = np.flatnonzero(mask)
    if len(words) <= FEW_WORDS:
        ids = _ids(mask, words).to(row.device)
        kept = row[ids]
        row.fill_(-torch.inf)
        row[ids] = kept
        return len(ids)
    words = np.flatnonzero(mask != -1)
    if len(words) <= FEW_WORDS:
        ids = _ids(~mask, words)
        ids = ids[ids < len(row)].to(row.device)
        row[ids] = -torch.inf
        return len(row) - len(ids)
    allowed = np.unpackbits(mask.view(np.uint8), bitorder="little")[: len(row)]
    row.masked_fill_(torch.from_numpy(allowed == 0).to(row.device), -torch.inf)
    return int(np.count_nonzero(allowed))


def _ids(mask: np.ndarray, words: np.ndarray) -> Tensor:
    """Ids whose bit is set in these words of `mask`."""
    bits = np.unpackbits(mask[words].view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
    which, offset = bits.nonzero()
    return torch.from_numpy(words[which] * 32 + offset)


def _logprob_of(logits: Tensor, token_id: int) -> float:
    return float(torch.log_softmax(logits.float(), -1)[token_id])


def _token_logprobs(logits: Tensor, wanted: Sequence[tuple[int, int, tuple[int, ...]]]) -> list[TokenLogprob]:
    """Per row of `logits` [N, V] a (token id, number of best tokens, other ids) to report."""
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
