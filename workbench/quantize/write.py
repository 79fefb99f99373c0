"""Writes a GGUF file piece by piece, under another name until it is whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedWriter
from math import prod
from pathlib import Path

import numpy as np
import torch
from gguf import GGUF_DEFAULT_ALIGNMENT, GGUFWriter
from gguf import GGMLQuantizationType as Kind
from gguf.gguf_writer import GGUFValue
from gguf.quants import quant_shape_to_byte_shape, quantize
from torch import Tensor

from workbench.checkpoint.base import Blocks
from workbench.errors import InvalidRequest, ModelUnsupported
from workbench.hub.disk import full_disk_is_an_error_of_ours, need_room
from workbench.hub.progress import Progress
from workbench.quantize.sources import SourceTensor

CHUNK = 1 << 22
"""Numbers at a time: 16 MiB of float32."""
LARGEST_HALF = float(torch.finfo(torch.float16).max)
ELSEWHERE = "give a place on another disk with --output"


def write_gguf(
    output: Path,
    architecture: str,
    meta: Mapping[str, GGUFValue],
    tensors: Sequence[tuple[SourceTensor, Kind]],
    check: Callable[[Path], None],
    progress: Progress,
) -> int:
    """Writes a new file and returns its bytes. `check` sees the file before the first weight is written.

    Raises InvalidRequest for a file that exists or a place where nothing can be written, DiskFull, and what `check` raises.
    """
    needed = sum(_num_bytes(tensor, kind) for tensor, kind in tensors)
    what = f"writing {output.name}"
    settings = [(tensor, kind) for tensor, kind in tensors if tensor.is_setting]
    weights = [(tensor, kind) for tensor, kind in tensors if not tensor.is_setting]
    with _appearing(output) as part, full_disk_is_an_error_of_ours(output.parent, needed, what, ELSEWHERE):
        need_room(output.parent, needed, what, ELSEWHERE)
        writer = GGUFWriter(part, architecture)
        try:
            writer.kv_data[0].update(meta)
            _write_head(writer, [*settings, *weights])
            _write_tensors(writer, settings, lambda done: None)
            os.truncate(part, part.stat().st_size + sum(_padded(tensor, kind) for tensor, kind in weights))
            check(part)
            _write_tensors(writer, weights, lambda done: progress(what, done, needed))
        finally:
            writer.close()
        return part.stat().st_size


def _write_head(writer: GGUFWriter, tensors: Sequence[tuple[SourceTensor, Kind]]) -> None:
    for tensor, kind in tensors:
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), _num_bytes(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    file = _file(writer)
    writer.write_padding(file, file.tell())
    file.flush()


def _write_tensors(writer: GGUFWriter, tensors: Sequence[tuple[SourceTensor, Kind]], report: Callable[[int], None]) -> None:
    file, done = _file(writer), 0
    for tensor, kind in tensors:
        for piece in _pieces(tensor, kind):
            file.write(piece)
            done += len(piece)
            report(done)
        writer.write_padding(file, _num_bytes(tensor, kind))
    file.flush()


def _file(writer: GGUFWriter) -> BufferedWriter:
    assert writer.fout is not None
    return writer.fout[0]


@contextmanager
def _appearing(output: Path) -> Iterator[Path]:
    """Yields the path of a temporary file that gets its name at the end of the block, and is deleted after an error."""
    if output.exists():
        raise InvalidRequest.because("output", f"{output} exists", hint="remove it, or give another name with --output")
    part = output.with_name(f".{output.name}-{os.getpid()}")
    try:
        yield part
        os.rename(part, output)
    except OSError as error:
        message = f"{output} cannot be written: {error.strerror}"
        raise InvalidRequest.because("output", message, hint="give another place with --output") from error
    finally:
        part.unlink(missing_ok=True)


def _num_bytes(tensor: SourceTensor, kind: Kind) -> int:
    return prod(quant_shape_to_byte_shape(tensor.shape, kind))


def _padded(tensor: SourceTensor, kind: Kind) -> int:
    return int(GGUFWriter.ggml_pad(_num_bytes(tensor, kind), GGUF_DEFAULT_ALIGNMENT))


def _pieces(tensor: SourceTensor, kind: Kind) -> Iterator[bytes]:
    """Yields the bytes of a tensor, some rows at a time."""
    for read in tensor.reads:
        value = read()
        step = max(1, CHUNK * value.shape[0] // prod(value.shape))
        for start in range(0, value.shape[0], step):
            rows = slice(start, min(start + step, value.shape[0]))
            part = value.cut(rows) if isinstance(value, Blocks) else value[rows]
            if isinstance(part, Blocks) and part.type == kind.name:
                yield part.data.numpy().tobytes()
                continue
            floats = part.dense() if isinstance(part, Blocks) else part.float()
            _check_range(tensor.name, floats, kind)
            yield quantize(floats.contiguous().numpy(), kind).tobytes()


def _check_range(name: str, rows: Tensor, kind: Kind) -> None:
    """Raises ModelUnsupported for what would become infinite: scales of blocks are float16, whose range ends early."""
    largest = float(rows.abs().max())
    if not largest < float("inf"):
        raise ModelUnsupported(f"{name} has numbers that are not finite", hint="the checkpoint is damaged")
    if largest > LARGEST_HALF and kind not in (Kind.F32, Kind.BF16):
        message = f"{name} has numbers up to {largest:,.0f}, and {kind.name} ends at {LARGEST_HALF:,.0f}"
        raise ModelUnsupported(message, hint="--to bf16 keeps them")
