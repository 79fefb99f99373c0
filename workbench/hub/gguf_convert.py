"""GGUF to a folder in Hugging Face layout, once: `convert(gguf, folder)`.

Weights become float32, because bfloat16 and float16 cannot hold what dequantising yields; an engine casts them when
it loads.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.hub.disk import need_room
from workbench.model.config import check_config
from workbench.model.folder import CONVERTER, MARKER, Progress
from workbench.model.gguf_families import ROPE_FACTORS, RULES, TOP_LEVEL, Rules, check_kind
from workbench.model.gguf_families import shapes as shapes_of
from workbench.model.gguf_file import GgufFile, damage_is_an_error_of_ours
from workbench.model.gguf_tokenizer import token_id, write_tokenizer


def convert(gguf_path: Path, folder: Path, progress: Progress, tell: Callable[[int], None] = lambda size: None) -> None:
    """Writes config.json, generation_config.json, model.safetensors, tokenizer.json and tokenizer_config.json.

    `folder` exists and is empty; the caller makes the result appear at once by renaming it. `tell` hears the size of the
    weights before they are written.
    """
    gguf = GgufFile(gguf_path)
    with damage_is_an_error_of_ours(gguf_path):
        rules = RULES.get(gguf.architecture)
        if rules is None:
            raise ModelUnsupported(
                f"{gguf_path} has the architecture {gguf.architecture!r}", hint=f"supported architectures: {', '.join(RULES)}"
            )
        check_kind(gguf)
        config = rules.config(gguf)
        check_config(config)
        names = _names(gguf, rules, config)
        write_tokenizer(gguf, folder)
    tell(4 * sum(int(np.prod(gguf.shape(source))) for source in names))
    digest = _write_weights(gguf, rules, config, names, folder / "model.safetensors", progress)
    size = gguf_path.stat().st_size
    marker = {"converter": CONVERTER, "gguf": gguf_path.name, "gguf_bytes": size, "safetensors_sha256": digest}
    _write_json(folder / "generation_config.json", _generation_config(gguf, config))
    _write_json(folder / "config.json", {**config, MARKER: marker})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def _write_weights(
    gguf: GgufFile, rules: Rules, config: dict[str, Any], names: dict[str, str], path: Path, progress: Progress
) -> str:
    """One safetensors file, a few rows at a time (q and k: a whole matrix); returns its sha256.

    Written as a stream and not through a memory map: on a full disk a stream raises, a map kills the process.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    total = 0
    for source, name in names.items():
        shape = gguf.shape(source)
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [total, total + size]}
        total += size
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    need_room(path.parent, total, f"converting {gguf.path.name}")
    digest, done = hashlib.sha256(), 0
    with path.open("wb") as file:
        for piece in _ahead(_pieces(gguf, rules, config, names, struct.pack("<Q", len(head)) + head)):
            file.write(piece)
            digest.update(piece)
            done += len(piece)
            progress(f"converting {gguf.path.name}", done, total + 8 + len(head))
    return digest.hexdigest()


def _ahead(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
    """The same pieces, the next one in the making on another thread while this one is written."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = worker.submit(next, pieces, None)
            yield piece


def _pieces(gguf: GgufFile, rules: Rules, config: dict[str, Any], names: dict[str, str], head: bytes) -> Iterator[memoryview]:
    yield memoryview(head)
    for source in names:
        leaf = source.split(".", 2)[-1] if source.startswith("blk.") else source
        whole = leaf.startswith(("attn_q.", "attn_k."))  # the rows of these two may change places
        for rows in [gguf.read(source)] if whole else gguf.rows(source):
            with damage_is_an_error_of_ours(gguf.path):
                values = np.ascontiguousarray(rules.undo(leaf, rows, config), dtype="<f4")
            yield memoryview(values).cast("B")  # type: ignore[arg-type]  # numpy's arrays are buffers


def _names(gguf: GgufFile, rules: Rules, config: dict[str, Any]) -> dict[str, str]:
    """GGUF name -> Hugging Face name, in the file's order; a tensor too many, too few or of another shape is an error."""
    names, unknown, shapes = {}, [], shapes_of(config)
    for source in gguf.tensors:
        if source == ROPE_FACTORS:
            continue
        *layer, leaf, kind = source.rsplit(".", 2)
        name = rules.names.get(leaf)
        if name is None or bool(layer) == (leaf in TOP_LEVEL):
            unknown.append(source)
        else:
            shape = shapes[leaf] if kind == "weight" else shapes[leaf][:1]
            if gguf.shape(source) != shape:
                raise ModelCorrupt(f"{gguf.path}: {source} has the shape {gguf.shape(source)}, its metadata imply {shape}")
            names[source] = f"{f'model.layers.{layer[0][4:]}.' if layer else ''}{name}.{kind}"
    if unknown:
        raise ModelUnsupported(f"{gguf.path} has {len(unknown)} tensors unknown to {gguf.architecture!r}, {unknown[0]} first")
    per_layer = [leaf for leaf in rules.names if leaf not in TOP_LEVEL]
    expected = ["token_embd.weight", "output_norm.weight"]
    expected += [f"blk.{layer}.{leaf}.weight" for layer in range(config["num_hidden_layers"]) for leaf in per_layer]
    missing = [source for source in expected if source not in names]
    if missing:
        raise ModelCorrupt(f"{gguf.path} lacks {len(missing)} of {len(expected)} tensors, {missing[0]} first")
    return names


def _generation_config(gguf: GgufFile, config: dict[str, Any]) -> dict[str, Any]:
    """`eos_token_id` lists every token that ends a turn."""
    ends = [token_id(gguf, name) for name in ("eos", "eot", "eom")]
    unique = list(dict.fromkeys(end for end in ends if end is not None))
    values = {"bos_token_id": config["bos_token_id"], "eos_token_id": unique, "pad_token_id": config["pad_token_id"]}
    return {name: value for name, value in values.items() if value not in (None, [])}
