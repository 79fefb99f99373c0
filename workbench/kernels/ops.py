"""The operations. Each has a compiled form (CPU, float32 or bfloat16), and an equal one in torch for all other cases.

T rows, H hidden, Hq and Hkv query and KV heads, D head size, S columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.kernels.codes import Codes, Rows
from workbench.kernels.compiled import library
from workbench.kernels.library import Function

WIDTH = 32
"""Row sizes of compiled operations are multiples of this, so that half a row is whole vectors."""
HEAD_SIZES = (64, 128, 256)
Masks = npt.NDArray[np.int32]
"""Bits of what is allowed [R, words], contiguous."""
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def compiled(name: str, x: Tensor, width: int) -> Function | None:
    """Returns the compiled form of `name` for rows of `width` numbers like those of `x`, or None."""
    if x.device.type != "cpu" or x.dtype not in NAMES or width % WIDTH:
        return None
    loaded = library()
    return None if loaded is None else loaded.operations[name, NAMES[x.dtype]]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Returns x [..., H] / rms(x) * weight [H], computed in float32."""
    call = compiled("rms_norm", x, x.shape[-1])
    if call is None or x.dtype != weight.dtype:
        return F.rms_norm(x, weight.shape, weight, eps)
    x = x.contiguous()
    out = torch.empty_like(x)
    size = x.shape[-1]
    call(x.data_ptr(), weight.data_ptr(), out.data_ptr(), x.numel() // size, size, size, eps)
    return out


class Norm(NamedTuple):
    """The norm before a product: x / rms(x) * weight."""

    weight: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Returns x [T, heads, D] turned by its position; cos, sin [T, 1, D], half-split layout."""
    num_rows, num_heads, dim = x.shape
    call = compiled("rotate", x, dim)
    if call is None or x.stride()[1:] != (dim, 1) or cos.dtype != x.dtype:
        half = dim // 2
        turned = torch.cat((-x[..., half:], x[..., :half]), -1)
        return torch.addcmul(x * cos, turned, sin)
    out = torch.empty((num_rows, num_heads, dim), dtype=x.dtype)
    call(x.data_ptr(), cos.data_ptr(), sin.data_ptr(), out.data_ptr(), num_rows, num_heads, dim, x.stride(0))
    return out


def silu_mul(gate_up: Tensor) -> Tensor:
    """Returns silu(gate) * up [T, I] of gate_up [T, 2 * I]."""
    size = gate_up.shape[-1] // 2
    call = compiled("silu_mul", gate_up, size)
    if call is None or not gate_up.is_contiguous():
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate) * up
    out = torch.empty((*gate_up.shape[:-1], size), dtype=gate_up.dtype)
    call(gate_up.data_ptr(), out.data_ptr(), out.numel() // size, size)
    return out


def softmax_(
    scores: Tensor, *, scale: float, group: int = 1, visible: int | None = None, window: int | None = None, with_lse: bool
) -> tuple[Tensor, Tensor]:
    """Changes: scores [B, R, S] become the softmax weights of scale * score. Returns them and the log-sum-exps [B, R].

    Row r is query head r % group of token r // group. It sees the columns before `visible` + r // group (by default all), of
    those the last `window`.
    """
    num_seqs, num_rows, width = scores.shape
    visible = width if visible is None else visible
    call = compiled("softmax", scores, WIDTH)
    if call is None:
        return _softmax(scores, scale, group, visible, window, with_lse)
    lse = torch.empty((num_seqs, num_rows) if with_lse else (0,), dtype=torch.float32)
    address = lse.data_ptr() if with_lse else None
    call(scores.data_ptr(), address, num_seqs * num_rows, num_rows, width, visible, group, window or width, scale)
    return scores, lse


def _softmax(scores: Tensor, scale: float, group: int, visible: int, window: int | None, with_lse: bool) -> tuple[Tensor, Tensor]:
    _, num_rows, width = scores.shape
    scores = scores.mul_(scale)
    if visible < width or window is not None:
        end = visible + torch.arange(num_rows, device=scores.device)[:, None] // group
        column = torch.arange(width, device=scores.device)
        hidden = column >= end
        if window is not None:
            hidden |= column < end - window
        scores.masked_fill_(hidden, float("-inf"))
    lse = scores.float().logsumexp(-1) if with_lse else scores.new_empty(0)
    return scores.softmax(-1), lse


def attend_slots(
    q: Tensor, k: Rows, v: Rows, slots: Tensor, starts: Tensor, *, scale: float, softcap: float | None = None
) -> tuple[Tensor, Tensor] | None:
    """Returns attention of row b of q [B, Hq, D] over k, v [slots, Hkv, D] at slots[starts[b] : starts[b + 1]], at least one.

    The result is out [B, Hq, D] and lse [B, Hq] float32, or None where there is no compiled form. K/V are read in place. In
    this and the two functions below v may also be the first numbers of k, with one K/V head.
    """
    latent = _Latent.of(q, k, v)
    if latent is not None:
        return latent(slots, starts, None, len(q), scale=scale, softcap=softcap)
    call = _attend("attend_slots", q, k, v)
    if call is None:
        return None
    num_rows, num_heads, dim = q.shape
    out, lse = _partial(q)
    tensors = [x.data_ptr() for x in (slots, starts, out, lse)]
    call(q.data_ptr(), q.stride(0), *_place(k, v), *tensors, num_rows, num_heads, k.shape[1], dim, scale, softcap or 0.0)
    return out, lse


def attends_in_place(k: Rows, v: Rows) -> bool:
    """Returns whether `attend_slots` and `attend_causal` have a compiled form for k, v [slots, Hkv, D] and queries like them."""
    device = (k.numbers if isinstance(k, Codes) else k).device
    query = torch.empty(1, 1, k.shape[-1], dtype=k.dtype, device=device)
    return _attend("attend_slots", query, k, v) is not None or _Latent.of(query, k, v) is not None


def attend_causal(
    q: Tensor, k: Rows, v: Rows, slots: Tensor, starts: Tensor, spans: Tensor, *,
    scale: float, window: int | None, softcap: float | None = None,
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    """Returns attention of rows spans[i, 0] to spans[i, 1] - 1 of q [T, Hq, D] at slots[starts[i] : starts[i + 1]] of k, v.

    k, v are [slots, Hkv, D]. The last of the slots are the rows' own tokens: each row sees the slots up to its own, of those
    the last `window`. The result is out [T, Hq, D] and lse [T, Hq] float32, set for the rows of `spans`, or None where
    there is no compiled form.
    """
    latent = _Latent.of(q, k, v)
    if latent is not None:
        return latent(slots, starts, spans, len(spans), scale=scale, softcap=softcap, window=window, is_causal=True)
    call = _attend("attend_causal", q, k, v)
    if call is None:
        return None
    _, num_heads, dim = q.shape
    out, lse = _partial(q)
    tensors = [x.data_ptr() for x in (slots, starts, spans, out, lse)]
    sizes = [len(spans), window or len(slots), num_heads, k.shape[1], dim]
    call(q.data_ptr(), q.stride(0), *_place(k, v), *tensors, *sizes, scale, softcap or 0.0)
    return out, lse


def attend_all(q: Tensor, k: Rows, v: Rows, *, scale: float, softcap: float | None = None) -> tuple[Tensor, Tensor] | None:
    """Returns attention of every row of q [T, Hq, D] over all of k, v [S, Hkv, D], contiguous.

    The result is out [T, Hq, D] and lse [T, Hq] float32, or None where there is no compiled form.
    """
    latent = _Latent.of(q, k, v)
    if latent is not None:
        starts, spans = torch.tensor([0, k.shape[0]]), torch.tensor([[0, len(q)]])
        return latent(None, starts, spans, 1, scale=scale, softcap=softcap)
    call = _attend("attend_all", q, k, v)
    if call is None:
        return None
    num_rows, num_heads, dim = q.shape
    out, lse = _partial(q)
    sizes = [num_rows, k.shape[0], num_heads, k.shape[1], dim]
    call(q.data_ptr(), q.stride(0), *_place(k, v), out.data_ptr(), lse.data_ptr(), *sizes, scale, softcap or 0.0)
    return out, lse


class _Latent(NamedTuple):
    """The compiled attention over a K/V head whose values are the first numbers of its keys."""

    call: Function
    q: Tensor
    k: Rows
    v_size: int

    @classmethod
    def of(cls, q: Tensor, k: Rows, v: Rows) -> _Latent | None:
        """Returns it for q [T, Hq, D] over k [slots, 1, D] and its part v; None where there is no compiled form for these."""
        size, v_size = k.shape[-1], v.shape[-1]
        if k.shape[1] != 1 or v_size == size or size % WIDTH or v_size % WIDTH or not _is_part(v, k):
            return None
        call = compiled("attend_latent", q, size) if k.dtype == q.dtype and q.stride()[1:] == (size, 1) else None
        return None if call is None else cls(call, q, k, v_size)

    def __call__(
        self, slots: Tensor | None, starts: Tensor, spans: Tensor | None, num_parts: int, *, scale: float, softcap: float | None,
        window: int | None = None, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Returns out [T, Hq, Dv] and lse [T, Hq] float32, set for the rows of `spans`."""
        q, k = self.q, self.k
        num_rows, num_heads, size = q.shape
        out = torch.empty((num_rows, num_heads, self.v_size), dtype=q.dtype)
        lse = torch.empty((num_rows, num_heads), dtype=torch.float32)
        place: list[int | None] = [k.data_ptr(), None, 0] if isinstance(k, Tensor) else [
            k.numbers.data_ptr(), k.scales.data_ptr(), k.format
        ]  # fmt: skip
        lists = [None if x is None else x.data_ptr() for x in (slots, starts, spans)]
        sizes = [num_parts, window or int(k.shape[0]), int(is_causal), num_heads, size, self.v_size]
        self.call(q.data_ptr(), q.stride(0), *place, *lists, out.data_ptr(), lse.data_ptr(), *sizes, scale, softcap or 0.0)
        return out, lse


def _is_part(v: Rows, k: Rows) -> bool:
    """Returns whether v is a view of the first numbers of k, which is contiguous."""
    one, other = (x.numbers if isinstance(x, Codes) else x for x in (v, k))
    return one.data_ptr() == other.data_ptr() and one.stride() == other.stride() and other.is_contiguous()


def _attend(name: str, q: Tensor, k: Rows, v: Rows) -> Function | None:
    """Returns the compiled form for rows q [T, Hq, D] over k and v [slots, Hkv, D], or None."""
    dim = q.shape[-1]
    alike = v.shape == k.shape and all(x.dtype == q.dtype and x.is_contiguous() for x in (k, v))
    return compiled(name, q, dim) if alike and dim in HEAD_SIZES and q.stride()[1:] == (dim, 1) else None


def _place(k: Rows, v: Rows) -> list[int | None]:
    """Returns where K and V lie: the addresses of their numbers and scales, and the format of the numbers."""
    if isinstance(k, Codes) and isinstance(v, Codes):
        return [*(x.data_ptr() for x in (k.numbers, v.numbers, k.scales, v.scales)), k.format]
    assert isinstance(k, Tensor)
    assert isinstance(v, Tensor)
    return [k.data_ptr(), v.data_ptr(), None, None, 0]


def _partial(q: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty(q.shape, dtype=q.dtype), torch.empty(q.shape[:2], dtype=torch.float32)


def write_slots(store: Tensor, slots: Tensor, rows: Tensor) -> None:
    """Changes: rows [T, Hkv, D] go to `slots` [T] of store [slots, Hkv, D]."""
    num_rows, num_heads, dim = rows.shape
    call = compiled("write_slots", store, WIDTH)
    if call is None or rows.dtype != store.dtype or rows.stride()[1:] != (dim, 1) or not store.is_contiguous():
        store.index_copy_(0, slots, rows.to(store.dtype))
        return
    call(store.data_ptr(), rows.data_ptr(), rows.stride(0), slots.data_ptr(), num_rows, num_heads * dim)


def write_codes(store: Codes, slots: Tensor, rows: Tensor) -> None:
    """Changes: rows [T, Hkv, D] go to `slots` [T] of store [slots, Hkv, D], rounded to its codes."""
    num_rows, num_heads, dim = rows.shape
    call = compiled("write_codes", rows, dim)
    if call is None or rows.stride()[1:] != (dim, 1) or not store.is_contiguous():
        store.write(slots, rows)
        return
    places = [store.numbers.data_ptr(), store.scales.data_ptr(), store.format, rows.data_ptr(), rows.stride(0), slots.data_ptr()]
    call(*places, num_rows, num_heads, dim)


def mask_rows_(x: Tensor, masks: Masks) -> None:
    """Changes: x [R, V] becomes -inf where bit i of the row's mask (int32 [R, words], contiguous) is not set."""
    call = compiled("mask_rows", x, WIDTH)
    if call is None or not x.is_contiguous():
        allowed = np.unpackbits(masks.view(np.uint8), axis=1, bitorder="little")[:, : x.shape[1]]
        x.masked_fill_(torch.from_numpy(allowed == 0).to(x.device), -torch.inf)
        return
    call(x.data_ptr(), masks.ctypes.data, *x.shape, masks.shape[1])


def argmax(x: Tensor, masks: Masks | None = None) -> tuple[Tensor, Tensor]:
    """Returns place [R] and value [R] (float32) of the largest number in each row of x [R, V]; the first of equals, NaN first.

    With `masks`, as in `mask_rows_`, only numbers whose bit is set count, and few are read where few are set. A row without
    any has -inf.
    """
    call = compiled("argmax", x, WIDTH)
    if call is None or not x.is_contiguous():
        if masks is not None:
            mask_rows_(x := x.clone(), masks)
        best = x.argmax(-1)
        return best, x.gather(1, best[:, None])[:, 0].float()
    best, peak = torch.empty(len(x), dtype=torch.int64), torch.empty(len(x), dtype=torch.float32)
    address, words = (None, 0) if masks is None else (masks.ctypes.data, masks.shape[1])
    call(x.data_ptr(), address, best.data_ptr(), peak.data_ptr(), *x.shape, words)
    return best, peak


class Look(NamedTuple):
    """Facts of R rows of logits: the largest K with their places, and of each row its log-sum-exp, the entropy of its softmax in
    nats, the number of logits larger than its token's, and that token's logit."""

    ids: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    lse: npt.NDArray[np.float32]
    entropy: npt.NDArray[np.float32]
    num_higher: npt.NDArray[np.float32]
    own: npt.NDArray[np.float32]


def look(x: Tensor, rows: Sequence[int], tokens: Sequence[int], masks: Masks | None, k: int) -> Look | None:
    """Returns the facts of these rows of x [.., V], or None where there is no compiled form.

    With `masks` (int32 [R, words]) only logits whose bit is set count.
    """
    call = compiled("look", x, WIDTH)
    if call is None or not x.is_contiguous():
        return None
    num_rows = len(rows)
    which, own = np.array(rows, dtype=np.int64), np.array(tokens, dtype=np.int64)
    ids, logits = np.empty((num_rows, k), dtype=np.int64), np.empty((num_rows, k), dtype=np.float32)
    stats = np.empty((num_rows, 4), dtype=np.float32)
    address, words = (None, 0) if masks is None else (masks.ctypes.data, masks.shape[1])
    arrays = [array.ctypes.data for array in (stats, ids, logits)]
    call(x.data_ptr(), which.ctypes.data, own.ctypes.data, address, *arrays, num_rows, x.shape[1], words, k)
    return Look(ids, logits, *stats.T)


def merge_(out: Tensor, lse: Tensor, other: Tensor, other_lse: Tensor) -> None:
    """Changes: out [T, Hq, D], lse [T, Hq] become what one softmax over both parts would have given."""
    dim = out.shape[-1]
    call = compiled("merge", out, dim)
    tensors = (out, lse, other, other_lse)
    if call is None or other.dtype != out.dtype or not all(x.is_contiguous() for x in tensors):
        weight = torch.sigmoid(other_lse - lse).unsqueeze(-1).to(out.dtype)
        out.lerp_(other, weight)
        torch.logaddexp(lse, other_lse, out=lse)
        return
    call(*(x.data_ptr() for x in tensors), lse.numel(), dim)
