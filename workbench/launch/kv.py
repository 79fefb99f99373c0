"""The K/V store of a model: how many tokens it holds, and in what type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psutil
import torch

from workbench.attention.kv import KVStore, bytes_per_token
from workbench.attention.registry import create_store
from workbench.attention.spec import AttentionSpec
from workbench.config import ServerArgs
from workbench.engine.features import KEPT_BYTES
from workbench.errors import InvalidRequest, NotSupported
from workbench.kernels.codes import CODES
from workbench.launch.kv_factors import factors_of_layers
from workbench.launch.place import DTYPES, Hardware, name_of

CPU_POOL_SHARE, CUDA_STATIC_SHARE = 0.25, 0.9
CPU_PICTURE_SHARE, CUDA_PICTURE_SHARE = 0.1, 0.25
"""Parts of the free memory for keys and values of pictures, in models that look at these by cross attention."""


def make_kv(
    args: ServerArgs, specs: Sequence[AttentionSpec], place: Hardware, factors: Mapping[int, float] | None = None
) -> KVStore:
    """Creates the K/V store, as large as `max_total_tokens` or as the share of memory allows.

    `factors` are those of `quantization_param_path`, by layer. Raises InvalidRequest if they are of other layers than the
    model's, and where the size is less than a page or more than the memory; NotSupported for a dense type that is not the
    model's.
    """
    kept = _kept(args.kv_cache_dtype, place)
    scales = () if factors is None else factors_of_layers(str(args.quantization_param_path), factors, len(specs))
    per_token = bytes_per_token(specs, kept)
    wanted = args.max_total_tokens
    num_slots = _affordable(args.mem_fraction_static, per_token, place.device) if wanted is None else wanted
    num_slots -= num_slots % args.page_size
    if num_slots < args.page_size:
        needed = f"room for at least one page of {args.page_size} tokens"
        raise InvalidRequest("max_total_tokens", num_slots, needed, hint="free memory, or raise mem_fraction_static")
    try:
        return create_store(specs, num_slots, place.dtype, place.device, kept=kept, factors=scales)
    except (RuntimeError, TypeError, OverflowError) as error:  # torch: out of memory, or a size that it cannot count
        needed = f"few enough for the memory, at {per_token:,} bytes each"
        hint = "ask for less, or leave it out: memory then decides"
        raise InvalidRequest("max_total_tokens", num_slots, needed, hint=hint) from error


def room_for_pictures(wanted_mb: int | None, device: torch.device, *, is_crossed: bool) -> int:
    """Returns the bytes that what a model makes of pictures may take, beside the K/V store and the weights.

    `is_crossed` is true where these are keys and values in layers of cross attention, which running requests hold.
    """
    if wanted_mb is not None:
        return wanted_mb << 20
    if not is_crossed:
        return KEPT_BYTES
    if device.type == "cuda":
        return max(int(torch.cuda.mem_get_info(device)[0] * CUDA_PICTURE_SHARE), KEPT_BYTES)
    return max(int(psutil.virtual_memory().available * CPU_PICTURE_SHARE), KEPT_BYTES)


def _kept(name: str, place: Hardware) -> torch.dtype:
    """Returns the type in which numbers are kept."""
    kept = place.dtype if name == "auto" else (DTYPES | CODES)[name]
    if kept != place.dtype and name not in CODES:
        message = f"kv_cache_dtype {name} beside dtype {name_of(place.dtype)} is not available"
        raise NotSupported(message, hint=f"leave it at auto, or take one of 8 bits: {', '.join(CODES)}")
    return kept


def _affordable(share: float | None, per_token: int, device: torch.device) -> int:
    """Returns how many tokens fit. On a GPU, `share` is that of all its memory that model and K/V may take together."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(free - (1 - (share or CUDA_STATIC_SHARE)) * total) // per_token
    return int(psutil.virtual_memory().available * (share or CPU_POOL_SHARE)) // per_token
