"""Quantised model folders as other tools write them, packed number by number, beside dense folders of the same numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tiny_weights import tensors_of
from torch import Tensor

from workbench.model.tiny import TINY_LLAMA, write_config

CONFIG = TINY_LLAMA | {"hidden_size": 256, "intermediate_size": 384, "head_dim": 64, "num_hidden_layers": 2, "vocab_size": 96}
Parts = dict[str, Tensor]
Made = tuple[Parts, Tensor]
"""Stored tensors by their leaves, and the numbers that they mean, float32 [out, in]."""


class Maker:
    """Draws matrices with a seed."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def codes(self, bits: int, num_out: int, width: int) -> np.ndarray:
        return self.rng.integers(0, 1 << bits, (num_out, width))

    def scales(self, *shape: int) -> np.ndarray:
        return (np.asarray(self.rng.uniform(0.5, 1.5, shape)) * 0.01).astype(np.float16)

    def gptq(self, num_out: int, width: int, bits: int = 4, group: int = 128, order: bool = False, offset: int = 1) -> Made:
        """Packs codes and zero points in words along inputs and outputs; `order` puts columns in groups at random."""
        codes, num_groups = self.codes(bits, num_out, width), width // group
        zeros = self.rng.integers(1, 1 << bits, (num_out, num_groups)) if bits < 8 else np.full((num_out, num_groups), 128)
        scales, g_idx = self.scales(num_out, num_groups), np.arange(width) // group
        if order:
            g_idx = self.rng.permutation(g_idx)
        dense = scales.astype(np.float32)[:, g_idx] * (codes - zeros[:, g_idx])
        parts = {
            "qweight": words(codes, bits).T, "qzeros": words((zeros - offset).T, bits),
            "scales": scales.T, "g_idx": g_idx.astype(np.int32),
        }  # fmt: skip
        return tensors(parts), torch.from_numpy(dense).float()

    def awq(self, num_out: int, width: int, group: int = 128) -> Made:
        """Packs eight columns in a word, in the order 0 2 4 6 1 3 5 7."""
        codes, zeros = self.codes(4, num_out, width), self.codes(4, num_out, width // group)
        scales = self.scales(num_out, width // group)

        def shuffled(x: np.ndarray) -> np.ndarray:  # [out, n] -> [n, out / 8]
            mixed = x.T.reshape(x.shape[1], -1, 8)[..., [0, 2, 4, 6, 1, 3, 5, 7]]
            return words(mixed.reshape(x.shape[1], -1), 4)

        dense = (codes - zeros.repeat(group, 1)) * scales.astype(np.float32).repeat(group, 1)
        parts = {"qweight": shuffled(codes), "qzeros": shuffled(zeros), "scales": scales.T}
        return tensors(parts), torch.from_numpy(dense).float()

    def packed(self, num_out: int, width: int, bits: int = 4, group: int = 32, asymmetric: bool = False) -> Made:
        """Packs codes with a sign, stored above the middle, as compressed-tensors does."""
        middle = 1 << (bits - 1)
        codes, scales = self.codes(bits, num_out, width), self.scales(num_out, width // group)
        zeros = self.codes(bits, num_out, width // group) if asymmetric else np.full_like(scales, middle, dtype=np.int64)
        dense = (codes - zeros.repeat(group, 1)) * scales.astype(np.float32).repeat(group, 1)
        parts = {"weight_packed": words(codes, bits), "weight_scale": scales, "weight_shape": np.array([num_out, width])}
        if asymmetric:
            parts["weight_zero_point"] = words(zeros.T, bits).T
        return tensors(parts), torch.from_numpy(dense).float()

    def int8(self, num_out: int, width: int, leaf: str = "weight_scale") -> Made:
        codes, scales = self.rng.integers(-128, 128, (num_out, width)).astype(np.int8), self.scales(num_out, 1).astype(np.float32)
        stored = scales[:, 0] * 127 if leaf == "SCB" else scales
        return tensors({"weight": codes, leaf: stored}), torch.from_numpy(codes * scales)

    def float8(self, num_out: int, width: int, kind: str) -> Made:
        codes = torch.from_numpy(self.rng.standard_normal((num_out, width)) * 50).to(torch.float8_e4m3fn)
        shape = {"tensor": (), "channel": (num_out, 1), "block": (-(-num_out // 128), -(-width // 128))}[kind]
        scale = torch.tensor(self.scales(*shape)).float() * 0.1
        spread = scale
        if kind == "block":
            spread = scale.repeat_interleave(128, 0)[:num_out].repeat_interleave(128, 1)[:, :width]
        leaf = "weight_scale_inv" if kind == "block" else "weight_scale"
        return {"weight": codes, leaf: scale, "input_scale": torch.ones(())}, codes.float() * spread

    def table(self, num_out: int, width: int, kind: str = "nf4", nested: bool = True) -> Made:
        """Packs places in a table, the first in the upper half of a byte, as bitsandbytes does; `nested` quantises scales too."""
        numbers = NF4 if kind == "nf4" else np.linspace(-1, 1, 16, dtype=np.float32)
        codes = self.codes(4, num_out, width)
        flat = codes.reshape(-1, 2)
        absmax = self.rng.uniform(0.01, 0.03, num_out * width // 64).astype(np.float32)
        state: dict[str, Any] = {"quant_type": kind, "blocksize": 64, "shape": [num_out, width], "dtype": "bfloat16"}
        parts = {"weight": (flat[:, 0] << 4 | flat[:, 1]).astype(np.uint8)[:, None], "weight.quant_map": numbers}
        if nested:
            places = self.rng.integers(0, 256, len(absmax)).astype(np.uint8)
            inner = self.rng.uniform(-1, 1, 256).astype(np.float32)
            outer = self.rng.uniform(0.001, 0.002, -(-len(absmax) // 256)).astype(np.float32)
            absmax = inner[places] * outer.repeat(256)[: len(places)] + np.float32(0.02)
            state |= {"nested_blocksize": 256, "nested_offset": float(np.float32(0.02)), "nested_dtype": "float32"}
            parts |= {"weight.absmax": places, "weight.nested_absmax": outer, "weight.nested_quant_map": inner}
        else:
            parts["weight.absmax"] = absmax
        parts[f"weight.quant_state.bitsandbytes__{kind}"] = np.frombuffer(json.dumps(state).encode(), np.uint8).copy()
        dense = (numbers[codes].reshape(-1, 64) * absmax[:, None]).reshape(num_out, width)
        return tensors(parts), torch.from_numpy(dense).float()


NF4 = np.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
], np.float32)  # fmt: skip


def words(codes: np.ndarray, bits: int) -> np.ndarray:
    """Returns the codes of each row as one string of bits, lowest first, cut into int32 words."""
    out = []
    for row in codes:
        total = sum(int(code) << (bits * i) for i, code in enumerate(row))
        num_words = -(-len(row) * bits // 32)
        out.append(np.frombuffer(total.to_bytes(num_words * 4, "little"), np.int32))
    return np.stack(out)


def tensors(parts: dict[str, np.ndarray]) -> Parts:
    return {leaf: torch.from_numpy(np.ascontiguousarray(value)) for leaf, value in parts.items()}


def compressed(form: str) -> dict[str, Any]:
    return {"quant_method": "compressed-tensors", "format": form}


def gptq(bits: int, **more: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": bits, **more}


FP8_BLOCKS = {"quant_method": "fp8", "weight_block_size": [128, 128]}
NF4_SETTINGS = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
FORMATS: dict[str, tuple[dict[str, Any], Callable[[Maker, int, int], Made]]] = {
    "gptq-4": (gptq(4), Maker.gptq),
    "gptq-4-group-32": (gptq(4), lambda make, *size: make.gptq(*size, group=32)),
    "gptq-4-one-group": (gptq(4), lambda make, *size: make.gptq(*size, group=size[1])),
    "gptq-4-desc-act": (gptq(4, desc_act=True), lambda make, *size: make.gptq(*size, order=True)),
    "gptq-4-v2": (gptq(4, checkpoint_format="gptq_v2"), lambda make, *size: make.gptq(*size, offset=0)),
    "gptq-2": (gptq(2), lambda make, *size: make.gptq(*size, bits=2)),
    "gptq-3": (gptq(3), lambda make, *size: make.gptq(*size, bits=3)),
    "gptq-8": (gptq(8), lambda make, *size: make.gptq(*size, bits=8)),
    "awq": ({"quant_method": "awq", "bits": 4, "version": "gemm"}, Maker.awq),
    "pack-4": (compressed("pack-quantized"), Maker.packed),
    "pack-4-asymmetric": (compressed("pack-quantized"), lambda make, *size: make.packed(*size, asymmetric=True)),
    "pack-8": (compressed("pack-quantized"), lambda make, *size: make.packed(*size, bits=8, group=128)),
    "pack-8-asymmetric": (compressed("pack-quantized"), lambda make, *size: make.packed(*size, bits=8, asymmetric=True)),
    "w8a8-int8": (compressed("int-quantized"), Maker.int8),
    "fp8-channel": (compressed("float-quantized"), lambda make, *size: make.float8(*size, "channel")),
    "fp8-tensor": ({"quant_method": "fp8"}, lambda make, *size: make.float8(*size, "tensor")),
    "fp8-block": (FP8_BLOCKS, lambda make, *size: make.float8(*size, "block")),
    "modelopt": ({"quant_method": "modelopt", "quant_algo": "FP8"}, lambda make, *size: make.float8(*size, "tensor")),
    "nf4": (NF4_SETTINGS, Maker.table),
    "nf4-flat": (NF4_SETTINGS, lambda make, *size: make.table(*size, nested=False)),
    "fp4": (NF4_SETTINGS | {"bnb_4bit_quant_type": "fp4"}, lambda make, *size: make.table(*size, kind="fp4")),
    "llm-int8": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, lambda make, *size: make.int8(*size, leaf="SCB")),
}  # fmt: skip
"""Name -> what config.json declares, and the maker of a matrix."""
DENSE_HERE = frozenset({"pack-8-asymmetric", "fp4"})
"""Those whose numbers no blocks of the kernels hold."""


def write_both(folder: Path, name: str, is_quantised: Callable[[str], bool] = lambda stem: "_proj" in stem) -> tuple[Path, Path]:
    """Writes a tiny model twice, and returns the folders: quantised in this format, and with the same numbers in float32."""
    settings, make = FORMATS[name]
    maker, stored, dense = Maker(), {}, {}
    for full, value in tensors_of(CONFIG).items():
        stem = full.removesuffix(".weight")
        if is_quantised(stem):
            parts, numbers = make(maker, *value.shape)
            stored |= {f"{stem}.{leaf}": part.clone() for leaf, part in parts.items()}
            dense[full] = numbers.contiguous()
        else:
            stored[full] = dense[full] = value
    for place, values, more in (("quantised", stored, {"quantization_config": settings}), ("dense", dense, {})):
        (folder / place).mkdir()
        write_config(folder / place, CONFIG, **more)
        save_file(values, folder / place / "model.safetensors")
    return folder / "quantised", folder / "dense"
