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

LENGTH_STEP = 64


@dataclass(slots=True)
class Row:
    key: tuple[tuple[int, int, bool], ...]
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Tails:
    """The tails of one step: `rows` of the flat batch in workspace order."""

    rows: Tensor | slice
    last: Tensor  # [B * Hkv], where each lane's new token goes, as a row of the flat workspace
    mask: Tensor  # [B, 1, 1, S], additive: lanes are padded to one length


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
        dim = k.shape[-1]
        self.k[layer].view(-1, dim).index_copy_(0, tails.last, k[tails.rows].reshape(-1, dim).to(self.k.dtype))
        self.v[layer].view(-1, dim).index_copy_(0, tails.last, v[tails.rows].reshape(-1, dim).to(self.v.dtype))

    def attend(self, layer: int, q: Tensor, tails: Tails, scale: float, *, with_lse: bool) -> Partial:
        """q [B, Hq, D] over each lane's tail -> out [B, Hq, D], lse [B, Hq] (empty unless it is needed for a merge)."""
        num_lanes, num_heads, dim = q.shape
        k, v = self.k[layer, :num_lanes], self.v[layer, :num_lanes]  # [B, Hkv, S, D], contiguous
        # With G query rows a plain matrix product is several times faster on a CPU than the flash kernel.
        scores = torch.matmul(q.reshape(num_lanes, k.shape[1], -1, dim) * scale, k.transpose(-1, -2)).add_(tails.mask)
        lse = scores.float().logsumexp(-1).reshape(num_lanes, num_heads) if with_lse else q.new_empty(0)
        out = torch.matmul(scores.softmax(-1), v)  # [B, Hkv, G, D]
        return Partial(out.reshape(num_lanes, num_heads, dim), lse)

    def _tails(self, starts: list[int], num_rows: int) -> Tails:
        device = self.kv.k.device
        lengths = [self.rows[seq_id].num_tokens for seq_id in self.lanes]
        heads, capacity = self.k.shape[2], self.k.shape[3]
        lengths_of = as_tensor(lengths, device)[:, None]
        beyond = torch.arange(capacity, device=device) >= lengths_of
        mask = torch.zeros(beyond.shape, dtype=self.kv.k.dtype, device=device).masked_fill_(beyond, float("-inf"))
        lanes = torch.arange(len(starts), device=device)[:, None] * heads + torch.arange(heads, device=device)  # [B, Hkv]
        ordered = starts == list(range(num_rows))
        return Tails(
            slice(None) if ordered else as_tensor(starts, device),
            (lanes * capacity + lengths_of - 1).flatten(),
            mask[:, None, None],
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
        """Changes: room for so many lanes and tokens. The length is kept tight, so that the lanes in use lie side by
        side, and in steps, so that the shapes of the products (and what is compiled for them) repeat."""
        lanes, tokens = self._capacity
        new_tokens = -(-num_tokens // LENGTH_STEP) * LENGTH_STEP
        if num_lanes <= lanes and new_tokens == tokens:
            return
        new_lanes = max(lanes, 1 << (num_lanes - 1).bit_length())
        old_k, old_v = self.k, self.v
        layers, _, heads, dim = self.kv.k.shape
        # Zeros, not empty: what lies beyond a lane's end is masked, and a masked NaN would still be NaN.
        self.k = self.kv.k.new_zeros((layers, new_lanes, heads, new_tokens, dim))
        self.v = self.kv.v.new_zeros((layers, new_lanes, heads, new_tokens, dim))
        if self.lanes:
            used, kept = len(self.lanes), min(tokens, new_tokens)
            self.k[:, :used, :, :kept] = old_k[:, :used, :, :kept]
            self.v[:, :used, :, :kept] = old_v[:, :used, :, :kept]
        self._capacity = (new_lanes, new_tokens)

    def _fill(self, lane: int, slots: list[int]) -> None:
        if slots:
            index = as_tensor(slots, self.kv.k.device)
            self.k[:, lane, :, : len(slots)] = self.kv.k[:, index].transpose(1, 2)
            self.v[:, lane, :, : len(slots)] = self.kv.v[:, index].transpose(1, 2)
