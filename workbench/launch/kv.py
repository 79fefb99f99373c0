"""The K/V store of a model: how many tokens it holds, and in what type."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
import torch

from workbench.attention.kv import KVStore, bytes_per_token
from workbench.attention.registry import create_store
from workbench.attention.spec import AttentionSpec
from workbench.config import ServerArgs
from workbench.errors import InvalidRequest, NotSupported
from workbench.launch.place import DTYPES, Hardware

CPU_POOL_SHARE, CUDA_STATIC_SHARE = 0.25, 0.9


def make_kv(args: ServerArgs, specs: Sequence[AttentionSpec], place: Hardware) -> KVStore:
    """Creates the K/V store, as large as `max_total_tokens` or as the share of memory allows.

    Raises InvalidRequest where that is less than a page or more than the memory, NotSupported for another type than the model's.
    """
    dtype = place.dtype if args.kv_cache_dtype == "auto" else DTYPES[args.kv_cache_dtype]
    if dtype != place.dtype:
        message = f"kv_cache_dtype {args.kv_cache_dtype} beside dtype {place.dtype} is not available yet"
        raise NotSupported(message, hint="leave it at auto")
    per_token = bytes_per_token(specs, dtype)
    wanted = args.max_total_tokens
    num_slots = _affordable(args.mem_fraction_static, per_token, place.device) if wanted is None else wanted
    num_slots -= num_slots % args.page_size
    if num_slots < args.page_size:
        needed = f"room for at least one page of {args.page_size} tokens"
        raise InvalidRequest("max_total_tokens", num_slots, needed, hint="free memory, or raise mem_fraction_static")
    try:
        return create_store(specs, num_slots, dtype, place.device)
    except (RuntimeError, TypeError, OverflowError) as error:  # torch: out of memory, or a size that it cannot count
        needed = f"few enough for the memory, at {per_token:,} bytes each"
        hint = "ask for less, or leave it out: memory then decides"
        raise InvalidRequest("max_total_tokens", num_slots, needed, hint=hint) from error


def _affordable(share: float | None, per_token: int, device: torch.device) -> int:
    """Returns how many tokens fit. On a GPU, `share` is that of all its memory that model and K/V may take together."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(free - (1 - (share or CUDA_STATIC_SHARE)) * total) // per_token
    return int(psutil.virtual_memory().available * (share or CPU_POOL_SHARE)) // per_token
