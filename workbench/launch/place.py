"""The device and the number type that a model runs in: settles "auto" by what the machine can do."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workbench.checkpoint.weights import WeightForm
from workbench.config import ServerArgs
from workbench.config.schemes import SCHEMES
from workbench.errors import InvalidRequest
from workbench.kernels.codes import CODES
from workbench.kernels.compiled import kernels
from workbench.kernels.processor import features
from workbench.kernels.products import FORMATS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "half": torch.float16}


@dataclass(frozen=True)
class Hardware:
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, args: ServerArgs) -> Hardware:
        device = pick_device(args.device)
        return cls(device, pick_dtype(args.dtype, device))


def pick_device(wanted: str) -> torch.device:
    """Returns the device. Raises InvalidRequest for "cuda" where torch sees none."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InvalidRequest("device", wanted, "cpu: torch sees no CUDA device here", hint='use device="cpu" or "auto"')
    return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu")


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Returns the number type; "auto" is bfloat16 where the device multiplies it, else float32."""
    if wanted != "auto":
        return DTYPES[wanted]
    return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32


def weight_form(args: ServerArgs, place: Hardware) -> WeightForm:
    """Returns the form of the weights: the blocks that stay as they are, and the scheme that makes some.

    To be called after the compilation of the kernels has begun. Raises InvalidRequest if blocks were asked for and cannot stay.
    """
    wanted = args.form
    can_stay = place.device.type == "cpu" and place.dtype != torch.float16
    online = wanted if wanted in SCHEMES else None
    needs_blocks = wanted == "gguf" or online is not None
    if needs_blocks and not can_stay:
        where = f"{name_of(place.dtype)} on {place.device.type}"
        hint = "blocks are multiplied in float32 and bfloat16 on a CPU"
        raise InvalidRequest("quantization", wanted, f"dequant for {where}", hint=hint)
    if wanted == "dequant" or not can_stay or not (needs_blocks or kernels.will_be_used):
        return WeightForm()
    return WeightForm(FORMATS, online)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Returns whether the device multiplies bfloat16 in hardware: AVX-512 BF16, AMX, ARM BF16, or a GPU that has it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has_avx512 = "AVX512" in torch.backends.cpu.get_cpu_capability()
    return bool(features() & {"amx_bf16", "bf16"}) or ("avx512_bf16" in features() and has_avx512)


def name_of(dtype: torch.dtype) -> str:
    """Returns the name that settings have for a type: "float32" of `torch.float32`."""
    return next((name for name, kept in CODES.items() if kept == dtype), str(dtype).removeprefix("torch."))
