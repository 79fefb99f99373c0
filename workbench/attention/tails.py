"""Decoding sequences: one new token each, over K/V that are read in place."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from workbench.attention.merge import Partial, cap_, read_both
from workbench.attention.runs import Rest
from workbench.attention.spec import AttentionSpec
from workbench.attention.step import Span, last_slots
from workbench.kernels.codes import Rows
from workbench.kernels.ops import attend_slots


@dataclass(slots=True)
class Tails:
    """Rows of a step that attend to a list of slots each."""

    rows: Tensor | slice
    slots: Tensor  # [sum of lengths]
    starts: Tensor  # [B + 1]
    _padded: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, spans: list[Span], lists: list[array[int]], num_rows: int, device: torch.device) -> Tails:
        """Makes tensors of the slots of each span, `lists` (int64)."""
        flat = torch.frombuffer(bytearray(b"".join(lists)), dtype=torch.int64).to(device)
        starts = torch.tensor([0, *map(len, lists)], device=device).cumsum(0)
        rows = [span.start for span in spans]
        return cls(slice(None) if len(rows) == num_rows else torch.tensor(rows, device=device), flat, starts)

    def padded(self) -> tuple[Tensor, Tensor]:
        """Returns the slots [B, S], and True where a row's list has ended [B, S]."""
        if self._padded is None:
            lengths = self.starts.diff()
            slots = pad_sequence(list(self.slots.split(lengths.tolist())), batch_first=True)
            self._padded = slots, torch.arange(slots.shape[1], device=slots.device) >= lengths[:, None]
        return self._padded


def attend_tails(q: Tensor, k: Rows, v: Rows, tails: Tails, spec: AttentionSpec) -> Partial:
    """Returns attention of q [B, Hq, D] over each row's slots of k [slots, Hkv, D], v [slots, Hkv, Dv]."""
    biased = spec.bias is not None
    done = None if biased else attend_slots(q, k, v, tails.slots, tails.starts, scale=spec.scale, softcap=spec.softcap)
    if done is not None:
        return Partial(*done)
    num_rows, num_heads, dim = q.shape
    slots, ended = tails.padded()
    # index_select and an own copy are several times faster than k[slots] and a product of strided parts.
    gathered = (x.unflatten(0, slots.shape) for x in read_both(k, v, slots.flatten(), spec))
    keys, values = (x.transpose(1, 2).contiguous() for x in gathered)  # [B, Hkv, S, D]
    scores = torch.matmul(q.reshape(num_rows, k.shape[1], -1, dim), keys.transpose(-1, -2))  # [B, Hkv, G, S]
    scores.mul_(cap_(scores, spec))
    if spec.bias is not None:  # each list is a whole context
        last = tails.starts.diff()[:, None] - 1
        bias = spec.bias(last, torch.arange(slots.shape[1], device=slots.device)[None])  # [Hq, B, S]
        scores = scores + bias.transpose(0, 1).unflatten(1, scores.shape[1:3])
    scores.masked_fill_(ended[:, None, None], float("-inf"))
    out = torch.matmul(scores.softmax(-1).to(values.dtype), values).reshape(num_rows, num_heads, v.shape[-1])
    return Partial(out, scores.float().logsumexp(-1).reshape(num_rows, num_heads))


class SlotLists:
    """Lists of the slots that no run covers, one per decoding sequence. A list grows by one slot a step."""

    def __init__(self) -> None:
        self._lists: dict[int, tuple[tuple[tuple[int, int, bool], ...], array[int]]] = {}

    def of(self, spans: list[Span], rests: dict[int, Rest], page_size: int) -> list[array[int]]:
        kept = {}
        for span in spans:
            rest = rests[span.seq_id]
            key, slots = self._lists.get(span.seq_id, ((), array("q")))
            if key == rest.key and len(slots) == rest.num_tokens - 1:
                slots.append(last_slots(span, page_size)[0])
            else:
                slots = array("q", rest.slots(page_size))
            kept[span.seq_id] = rest.key, slots
        self._lists = kept
        return [kept[span.seq_id][1] for span in spans]
