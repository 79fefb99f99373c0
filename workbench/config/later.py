"""Server arguments of the reference that are not built yet.

Each is accepted, wherever engine arguments are, at the value that has no effect. At another value it is refused with the
reason and a way round, so that it never seems to have an effect.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from workbench.errors import InvalidRequest, NotSupported

OFF = (False, None)


@dataclass(frozen=True, slots=True)
class Later:
    """One argument that is not built yet."""

    neutral: tuple[Any, ...]
    """Values without an effect."""
    lacks: str
    """The missing feature, as a plural: "... are not available yet"."""
    instead: str
    """Alternative, for the hint of the error."""
    flags: tuple[str, ...] = ()
    """Other spellings on the command line."""
    nargs: str | None = None

    @property
    def is_switch(self) -> bool:
        return self.neutral is OFF


ONE = (1, None)
NONE: tuple[Any, ...] = (None, "", (), [])
_ONE_DEVICE = "leave it out: one device computes the whole model"
_REPLICAS = "load several engines (%wb load --engine NAME), one for each part of the work"
_DENSE = "leave it out: every token is attended to"

LATER: dict[str, Later] = {
    "tp_size": Later(ONE, "several devices for one model", _ONE_DEVICE, ("--tp", "--tensor-parallel-size")),
    "dp_size": Later(ONE, "replicas of a model", _REPLICAS, ("--dp", "--data-parallel-size")),
    "load_balance_method": Later((None, "round_robin"), "replicas of a model", _REPLICAS),
    "ep_size": Later(ONE, "experts on several devices", _ONE_DEVICE, ("--ep", "--expert-parallel-size")),
    "enable_ep_moe": Later(OFF, "experts on several devices", _ONE_DEVICE),
    "enable_dp_attention": Later(OFF, "replicas of the attention", _ONE_DEVICE),
    "nnodes": Later(ONE, "several machines for one model", _ONE_DEVICE),
    "node_rank": Later((0, None), "several machines for one model", _ONE_DEVICE),
    "dist_init_addr": Later(NONE, "several machines for one model", _ONE_DEVICE),
    "nccl_init_addr": Later(NONE, "several machines for one model", _ONE_DEVICE),
    "base_gpu_id": Later((0, None), "choices of the GPU", "set CUDA_VISIBLE_DEVICES before Python starts"),
    "cpu_offload_gb": Later((0, None), "weights beside the device", 'use device="cpu", or a smaller model'),
    "lora_paths": Later(NONE, "adapters", "merge the adapter into the checkpoint, and load that", (), "*"),
    "max_loras_per_batch": Later((None, 8), "adapters", "merge the adapter into the checkpoint, and load that"),
    "lora_backend": Later((None, "triton"), "adapters", "merge the adapter into the checkpoint, and load that"),
    "speculative_algorithm": Later(NONE, "draft models", "leave it out: tokens are decoded one after the other"),
    "speculative_draft_model_path": Later(NONE, "draft models", "leave it out: tokens are decoded one after the other"),
    "speculative_num_steps": Later((None, 5), "draft models", "leave it out: tokens are decoded one after the other"),
    "speculative_num_draft_tokens": Later((None, 64), "draft models", "leave it out: tokens are decoded one after the other"),
    "speculative_eagle_topk": Later((None, 8), "draft models", "leave it out: tokens are decoded one after the other"),
    "enable_double_sparsity": Later(OFF, "sparse attention kernels", _DENSE),
    "ds_channel_config_path": Later(NONE, "sparse attention kernels", _DENSE),
    "ds_heavy_channel_num": Later((None, 32), "sparse attention kernels", _DENSE),
    "ds_heavy_token_num": Later((None, 256), "sparse attention kernels", _DENSE),
    "ds_heavy_channel_type": Later((None, "qk"), "sparse attention kernels", _DENSE),
    "ds_sparse_decode_threshold": Later((None, 4096), "sparse attention kernels", _DENSE),
    "enable_torch_compile": Later(OFF, "compiled models", "leave it out: steps run as they are"),
    "torch_compile_max_bs": Later((None, 32), "compiled models", "leave it out: steps run as they are"),
    "cuda_graph_max_bs": Later(NONE, "CUDA graphs", "leave it out: steps run without"),
    "cuda_graph_bs": Later(NONE, "CUDA graphs", "leave it out: steps run without", (), "*"),
    "triton_attention_reduce_in_fp32": Later(OFF, "triton kernels", "leave it out: attention sums in float32 anyway"),
    "triton_attention_num_kv_splits": Later((None, 8), "triton kernels", "leave it out"),
    "delete_ckpt_after_loading": Later(OFF, "engines that delete files", "workbench models remove NAME does it"),
}

NO_EFFECT = frozenset(
    {"enable_radix_cache", "disable_cuda_graph", "disable_cuda_graph_padding",
     "disable_custom_all_reduce", "enable_p2p_check"}
)  # fmt: skip
"""Names of switches without effect: this engine always works as they demand."""


def is_accounted_for(name: str, value: Any) -> bool:
    """Returns whether `name` is one of these and its value has no effect. Raises NotSupported for a value that would have one."""
    if name in NO_EFFECT:
        if value is not None and not isinstance(value, bool):
            raise InvalidRequest(name, value, "True or False")
        return True
    if name not in LATER:
        return False
    later = LATER[name]
    if not any(type(value) is type(one) and value == one for one in later.neutral):
        raise NotSupported(f"{name}={value!r}: {later.lacks} are not available yet", hint=later.instead)
    return True


def add_cli_args(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each, so that a command line of the reference is understood; help does not list them."""
    for name in sorted(NO_EFFECT):
        parser.add_argument(flag(name), dest=name, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    for name, later in LATER.items():
        more: dict[str, Any] = {"action": "store_true"} if later.is_switch else {"type": _value, "nargs": later.nargs}
        parser.add_argument(flag(name), *later.flags, dest=name, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **more)


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _value(text: str) -> Any:
    """Returns a number if the text is one, None for `None`, and else the text."""
    if text == "None":
        return None
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text
