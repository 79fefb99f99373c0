"""The number formats that are written, and the one that each tensor gets."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gguf import GGMLQuantizationType as Kind
from gguf import LlamaFileType

from workbench.checkpoint.dequantise import BY_NAME
from workbench.errors import InvalidRequest, NotSupported


@dataclass(frozen=True)
class Target:
    kind: Kind
    file_type: LlamaFileType
    """Value of `general.file_type`."""

    @property
    def is_quantised(self) -> bool:
        return BY_NAME[self.kind.name].block_len > 1


TARGETS = {
    "q4_0": Target(Kind.Q4_0, LlamaFileType.MOSTLY_Q4_0),
    "q4_1": Target(Kind.Q4_1, LlamaFileType.MOSTLY_Q4_1),
    "q5_0": Target(Kind.Q5_0, LlamaFileType.MOSTLY_Q5_0),
    "q5_1": Target(Kind.Q5_1, LlamaFileType.MOSTLY_Q5_1),
    "q8_0": Target(Kind.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "f16": Target(Kind.F16, LlamaFileType.MOSTLY_F16),
    "bf16": Target(Kind.BF16, LlamaFileType.MOSTLY_BF16),
    "f32": Target(Kind.F32, LlamaFileType.ALL_F32),
}
WHOLE = (".ffn_gate_inp.weight", "_norm.weight", ".bias", "position_embd.weight", "token_types.weight")
"""Ends of the names of tensors that stay as they are: of routers, whose rounding would choose other experts, and of what is
added or multiplied number by number."""
DENSE = tuple(name for name, target in TARGETS.items() if not target.is_quantised)


def target_of(name: str) -> Target:
    """Returns the format of a name, in any case. Raises NotSupported for one that only others write, InvalidRequest for none."""
    found = TARGETS.get(name.lower())
    if found is not None:
        return found
    written = ", ".join(TARGETS)
    if name.upper().removesuffix("_S").removesuffix("_M").removesuffix("_L") in Kind.__members__:
        hint = f"written: {written}; llama.cpp's llama-quantize makes {name} of a file that is written here with --to f16"
        raise NotSupported(f"{name} is read and not written here", hint=hint)
    raise InvalidRequest("--to", name, f"one of {written}", hint="q8_0 is nearly as good as the model, q4_0 half as large")


def kind_of(name: str, shape: tuple[int, ...], target: Target, names: Collection[str]) -> Kind:
    """Returns the format of one tensor among `names`.

    Vectors, routers, norms, biases and tables of positions stay F32. The head, or the embedding that serves as head, has 8 bits
    where other matrices have 4 or 5. A row that is no whole number of blocks becomes F16.
    """
    if len(shape) == 1 or name.endswith(WHOLE):
        return Kind.F32
    if not target.is_quantised:
        return target.kind
    kind = Kind.Q8_0 if name == _head(names) else target.kind
    return kind if shape[-1] % BY_NAME[kind.name].block_len == 0 else Kind.F16


def _head(names: Collection[str]) -> str:
    return "output.weight" if "output.weight" in names else "token_embd.weight"
