"""Dense copies of the K/V tails of decoding sequences, kept from step to step.

Gathering scattered slots in every layer of every step copies each byte twice. A decoding sequence gains one token per
step, so its tail is copied here once, when it starts to decode or its runs change, and then written along.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.attention.kv import KVStore
from workbench.attention.merge import Partial
from workbench.attention.runs import Rest
from workbench.attention.step import Span, as_tensor


@dataclass(slots=True)
class Row:
    key: tuple[tuple[int, int, bool], ...]
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Tails:
    """The tails of one step: `rows` of the flat batch in workspace order."""

    rows: Tensor | slice
    lanes: Tensor  # [B], 0 .. B - 1
    last: Tensor  # [B], where each lane's new token goes
    length: int
    mask: Tensor | None  # [B, 1, 1, length] float32, additive


class Workspace:
    def __init__(self, kv: KVStore) -> None:
        self.kv = kv
        self.lanes: list[int] = []
        """Sequence id of each lane."""
        self.rows: dict[int, Row] = {}
        self.k = kv.k.new_empty(0)
        self.v = kv.v.new_empty(0)
        self._capacity = (0, 0)

    def place(self, spans: list[Span], rests: dict[int, Rest], page_size: int, num_rows: int) -> Tails:
        """Changes: one lane for each of `spans` (one new token each), filled with all of its tail but that token."""
        wanted = {span.seq_id: span for span in spans}
        self._drop(wanted.keys())
        self._reserve(len(wanted), max(rests[seq_id].num_tokens for seq_id in wanted))
        for seq_id in wanted:
            rest = rests[seq_id]
            row = self.rows.get(seq_id)
            if row is None:
                row = self.rows[seq_id] = Row((), -1)
                self.lanes.append(seq_id)
            if row.key != rest.key or row.num_tokens != rest.num_tokens - 1:
                self._fill(self.lanes.index(seq_id), rest.slots(page_size)[: rest.num_tokens - 1])
            row.key, row.num_tokens = rest.key, rest.num_tokens
        return self._tails([wanted[seq_id].start for seq_id in self.lanes], num_rows)

    def write(self, layer: int, tails: Tails, k: Tensor, v: Tensor) -> None:
        """Changes: the new tokens k, v [T, Hkv, D] go to the end of their lanes."""
        self.k[layer][tails.lanes, :, tails.last] = k[tails.rows].to(self.k.dtype)
        self.v[layer][tails.lanes, :, tails.last] = v[tails.rows].to(self.v.dtype)

    def attend(self, layer: int, q: Tensor, tails: Tails, scale: float) -> Partial:
        """q [B, Hq, D] over each lane's tail -> out [B, Hq, D], lse [B, Hq]."""
        num_lanes, num_heads, dim = q.shape
        k = self.k[layer, :num_lanes, :, : tails.length]  # [B, Hkv, S, D]
        v = self.v[layer, :num_lanes, :, : tails.length]
        # With G query rows a plain matrix product is several times faster here than the flash kernel.
        scores = torch.matmul(q.view(num_lanes, k.shape[1], -1, dim) * scale, k.transpose(-1, -2)).float()  # [B, Hkv, G, S]
        if tails.mask is not None:
            scores += tails.mask
        lse = scores.logsumexp(-1)
        out = torch.matmul((scores - lse.unsqueeze(-1)).exp_().to(v.dtype), v)
        return Partial(out.reshape(num_lanes, num_heads, dim), lse.reshape(num_lanes, num_heads))

    def _tails(self, starts: list[int], num_rows: int) -> Tails:
        device = self.kv.k.device
        lengths = [self.rows[seq_id].num_tokens for seq_id in self.lanes]
        longest = max(lengths)
        mask = None
        if min(lengths) < longest:
            beyond = torch.arange(longest, device=device) >= as_tensor(lengths, device)[:, None]
            mask = torch.zeros(beyond.shape, device=device).masked_fill_(beyond, float("-inf"))[:, None, None]
        ordered = starts == list(range(num_rows))
        return Tails(
            slice(None) if ordered else as_tensor(starts, device),
            torch.arange(len(starts), device=device),
            as_tensor(lengths, device) - 1,
            longest,
            mask,
        )

    def _drop(self, keep: object) -> None:
        """Frees the lanes of sequences that no longer decode, moving the last lanes into the holes."""
        for seq_id in [seq_id for seq_id in self.lanes if seq_id not in keep]:  # type: ignore[operator]
            hole, last = self.lanes.index(seq_id), len(self.lanes) - 1
            del self.rows[seq_id]
            if hole < last:
                used = self.rows[self.lanes[last]].num_tokens
                self.k[:, hole, :, :used] = self.k[:, last, :, :used]
                self.v[:, hole, :, :used] = self.v[:, last, :, :used]
                self.lanes[hole] = self.lanes[last]
            self.lanes.pop()

    def _reserve(self, num_lanes: int, num_tokens: int) -> None:
        lanes, tokens = self._capacity
        if num_lanes <= lanes and num_tokens <= tokens:
            return
        new_lanes = max(lanes, 1 << (num_lanes - 1).bit_length())
        new_tokens = max(tokens, 1 << max(num_tokens + 63, 127).bit_length())
        old_k, old_v = self.k, self.v
        layers, _, heads, dim = self.kv.k.shape
        # Zeros, not empty: what lies beyond a lane's end is masked, and a masked NaN would still be NaN.
        self.k = self.kv.k.new_zeros((layers, new_lanes, heads, new_tokens, dim))
        self.v = self.kv.v.new_zeros((layers, new_lanes, heads, new_tokens, dim))
        for lane, seq_id in enumerate(self.lanes):
            used = self.rows[seq_id].num_tokens
            self.k[:, lane, :, :used] = old_k[:, lane, :, :used]
            self.v[:, lane, :, :used] = old_v[:, lane, :, :used]
        self._capacity = (new_lanes, new_tokens)

    def _fill(self, lane: int, slots: list[int]) -> None:
        if slots:
            index = as_tensor(slots, self.kv.k.device)
            self.k[:, lane, :, : len(slots)] = self.kv.k[:, index].transpose(1, 2)
            self.v[:, lane, :, : len(slots)] = self.kv.v[:, index].transpose(1, 2)
