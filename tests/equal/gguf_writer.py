"""Writes GGUF files as llama.cpp's converter does, from the tensors of a Hugging Face model, with the names that `gguf` has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import quantize
from torch import Tensor

Kind = gguf.GGMLQuantizationType


def write(
    path: Path,
    architecture: str,
    meta: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    kind: Kind = Kind.F32,
    *,
    changed: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor,
) -> Path:
    """Writes one file. `meta` has keys below the architecture's name; `changed` is done to each tensor before it is written.

    Matrices are of the `kind`, but for routers. The experts of a layer become one tensor. A name of a GGUF file stays.
    """
    arch = next(one for one, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, 8)
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in meta.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
        add(f"{architecture}.{key}", value)
    for name, tensor in stacked({name: changed(name, tensor) for name, tensor in tensors.items()}).items():
        stored = name if name.startswith(("blk.", "rope_factors_")) else names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert stored is not None, name
        numbers = tensor.squeeze().contiguous().numpy()
        is_matrix = numbers.ndim > 1 and "ffn_gate_inp" not in stored
        own = kind if is_matrix else Kind.F32
        data = numbers.astype(np.float32) if own == Kind.F32 else quantize(numbers, own)
        writer.add_tensor(stored, data, raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def stacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors with those of the experts of one layer in one."""
    found: dict[str, Tensor] = {}
    experts: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(.*\.experts)\.(\d+)\.(.*)", name)
        if match is None:
            found[name] = tensor
        else:
            experts.setdefault(f"{match[1]}.{match[3]}", {})[int(match[2])] = tensor
    return found | {name: torch.stack([parts[i] for i in range(len(parts))]) for name, parts in experts.items()}


def sizes(config: Any) -> dict[str, Any]:
    """Returns the keys that every decoder has, from a config of transformers."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return {
        "context_length": config.max_position_embeddings, "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers, "feed_forward_length": getattr(config, "intermediate_size", None) or 1,
        "attention.head_count": config.num_attention_heads, "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": head_dim, "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": float(getattr(config, "rms_norm_eps", 1e-5)),
        "rope.freq_base": float(config.rope_parameters["rope_theta"]), "rope.dimension_count": head_dim,
    }  # fmt: skip


def neighbours(config: Any) -> Callable[[str, Tensor], Tensor]:
    """Returns the change to queries and keys for a rotary embedding that turns neighbours: that of llama.cpp for Llama."""

    def change(name: str, tensor: Tensor) -> Tensor:
        match = re.search(r"\.([qk])_proj\.(weight|bias)$", name)
        if match is None:
            return tensor
        heads = config.num_attention_heads if match[1] == "q" else config.num_key_value_heads
        return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(tensor.shape)

    return change
