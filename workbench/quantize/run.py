"""`quantize_model`: from a model's files to a GGUF file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gguf import GGML_QUANT_VERSION, GGUFValueType
from gguf import GGMLQuantizationType as Kind
from gguf.gguf_writer import GGUFValue

from workbench.errors import NotSupported
from workbench.hub.progress import Progress
from workbench.quantize.sources import Source, open_source
from workbench.quantize.targets import DENSE, Target, kind_of, target_of
from workbench.quantize.write import write_gguf

OLD_FORMAT = re.compile(r"[-.](?:(?:i?q\d\w*)|b?f16|f32)$", re.IGNORECASE)
"""The end of a file's name that is its format."""


@dataclass(frozen=True)
class Written:
    path: Path
    num_bytes: int
    kinds: dict[str, int]
    """Format -> number of tensors."""


def default_output(path: Path, name: str, to: str) -> Path:
    """Returns the name of a file in the present folder: of the model, and of the format."""
    stem = path.stem if path.is_file() else path.name if Path(name).exists() else name.rsplit("/", 1)[-1].partition("@")[0]
    return Path(f"{OLD_FORMAT.sub('', stem)}-{to.upper()}.gguf")


def quantize_model(
    path: Path, name: str, to: str, output: Path, *, requantize: bool, progress: Progress, say: Callable[[str], None]
) -> Written:
    """Writes the model in a folder or GGUF file to `output`, with matrices in the format `to`.

    `say` is called with a line for each tensor that gets another format because its rows do not fit. Raises NotSupported
    for a quantised source and a quantised target without `requantize`, and what opening the model and writing raise.
    """
    target = target_of(to)
    with open_source(path, name) as source:
        if source.quantised and target.is_quantised and not requantize:
            hint = f"quantise the dense model; write {' or '.join(DENSE)}; or take the loss with --requantize"
            raise NotSupported(f"{path.name} is quantised already ({source.quantised}): quantised twice it is worse", hint=hint)
        kinds = _kinds(source, target, say)
        for note in source.notes:
            say(note)
        meta = dict(source.meta) | {"general.file_type": GGUFValue(int(target.file_type), GGUFValueType.UINT32)}
        if target.is_quantised:
            meta["general.quantization_version"] = GGUFValue(GGML_QUANT_VERSION, GGUFValueType.UINT32)
        tensors = [(tensor, kinds[tensor.name]) for tensor in source.tensors]
        num_bytes = write_gguf(output, source.architecture, meta, tensors, source.check, progress)
    counts = {kind.name: list(kinds.values()).count(kind) for kind in sorted(set(kinds.values()))}
    return Written(output, num_bytes, counts)


def _kinds(source: Source, target: Target, say: Callable[[str], None]) -> dict[str, Kind]:
    shapes = {tensor.name: tensor.shape for tensor in source.tensors}
    kinds = {name: kind_of(name, shape, target, shapes) for name, shape in shapes.items()}
    for name, kind in kinds.items():
        if kind == Kind.F16 and target.is_quantised:
            say(f"{name} becomes F16: its rows of {shapes[name][-1]:,} numbers are no whole blocks of {target.kind.name}")
    return kinds
