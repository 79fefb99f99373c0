"""Measures how fast a folder of safetensors becomes a model, beside plain reading of its bytes, and the memory that it takes."""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.bench.report import machine, markdown_table
from workbench.checkpoint.files import weight_files
from workbench.errors import InvalidRequest

if TYPE_CHECKING:
    from torch import Tensor

HIDDEN, INNER, VOCAB = 2048, 8192, 32_000
LAYER_NUMBERS = 4 * HIDDEN * HIDDEN + 3 * HIDDEN * INNER
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER,
    "vocab_size": VOCAB, "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 4096,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip
SMALL = dict.fromkeys(("hidden_size", "intermediate_size", "vocab_size"), 64) | {"num_hidden_layers": 1}
PIECE = 8 << 20
SAMPLE_S = 0.005
CHILD = "import sys; from workbench.bench.loading import measure; measure(*sys.argv[1:])"


@dataclass(frozen=True)
class Measured:
    """One way from files to memory, in a process of its own."""

    seconds: float
    own_bytes: int
    """Largest memory that the process had to itself, above what it had before."""
    mapped_bytes: int
    """Largest part of the files that was mapped, which the system takes back when it needs it."""
    weights_bytes: int


def add_args(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gb", type=float, default=2.0, help="size of the model that is written for it, in GB (default: 2)")
    parser.add_argument("--shards", type=int, default=4, help="files of it (default: 4)")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="type in memory (default: bfloat16)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind, in turns (default: 3)")
    parser.add_argument("--folder", help="where the model is written and deleted (default: the system's temporary folder)")


def run(args: argparse.Namespace) -> int:
    for name, least in (("gb", 0.01), ("shards", 1), ("rounds", 1)):
        if getattr(args, name) < least:
            raise InvalidRequest(name, getattr(args, name), f"at least {least}")
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        write_folder(folder, args.gb, args.shards)
        print(table(folder, args.dtype, args.rounds), end="\n\n", flush=True)
    print(machine())
    return 0


def write_folder(folder: Path, gb: float, shards: int) -> None:
    """Writes a Llama of about so many GB, in bfloat16, whose layers are spread over the files in any order."""
    import torch
    from safetensors.torch import save_file

    num = max(1, round((gb * 1e9 / 2 - VOCAB * HIDDEN) / LAYER_NUMBERS))
    shapes = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (HIDDEN, HIDDEN), "self_attn.v_proj": (HIDDEN, HIDDEN)}
    shapes |= {"self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN)}
    shapes |= {"mlp.down_proj": (HIDDEN, INNER)}
    rng = torch.Generator().manual_seed(0)

    def matrix(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=rng)

    norm, names = torch.ones(HIDDEN, dtype=torch.bfloat16), ["embed_tokens", "norm", *(f"layers.{i}" for i in range(num))]
    random.Random(0).shuffle(names)
    listed: dict[str, str] = {}
    for index in range(shards):
        tensors = {}
        for name in names[index::shards]:
            if name == "embed_tokens":
                tensors["model.embed_tokens.weight"] = matrix(VOCAB, HIDDEN)
            elif name == "norm":
                tensors["model.norm.weight"] = norm
            else:
                tensors |= {f"model.{name}.{part}.weight": matrix(*shape) for part, shape in shapes.items()}
                norms = ("input_layernorm", "post_attention_layernorm")
                tensors |= {f"model.{name}.{part}.weight": norm.clone() for part in norms}
        if tensors:
            file = f"model-{index + 1:05}-of-{shards:05}.safetensors"
            save_file(tensors, folder / file, metadata={"format": "pt"})
            listed |= dict.fromkeys(tensors, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    (folder / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": num}))


def table(folder: Path, dtype: str, rounds: int) -> str:
    """Returns both ways from the disk and from the system's cache."""
    files = weight_files(folder)
    sizes = [file.stat().st_size for file in files]
    rows = []
    for kind in ("from the disk", "from the system's cache"):
        found: dict[str, list[Measured]] = {"read": [], "load": []}
        for _ in range(rounds):
            for way, measured in found.items():
                for file in files:
                    _forget(file) if kind == "from the disk" else _read(file)
                measured.append(_in_child(way, folder, dtype))
        read, load = (statistics.median(one.seconds for one in measured) for measured in found.values())
        own, mapped = (max(getattr(one, name) for one in found["load"]) for name in ("own_bytes", "mapped_bytes"))
        memory = (own, mapped, found["load"][0].weights_bytes + max(sizes))
        times = [f"{read:.2f}", f"{load:.2f}", f"{load / read:.2f}"]
        rows.append([kind, f"{sum(sizes) / 1e9:.2f}", *times, *(f"{size / 1e9:.2f}" for size in memory)])
    head = ["safetensors", "GB", "reading the bytes, s", "loading, s", "ratio"]
    return markdown_table([*head, "memory, GB", "files mapped, GB", "weights + a file, GB"], rows)


def measure(way: str, folder: str, dtype: str) -> None:
    """Prints, as JSON, one way in this process: `read` all bytes into new memory, or `load` the model."""
    import torch

    from workbench.model.load import load_model

    files, kind = weight_files(Path(folder)), getattr(torch, dtype)
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    load_model(Path(folder), dtype=kind, device=torch.device("cpu"), dummy=True, override=SMALL)  # what is done once a process
    with _Memory() as memory:
        began = time.perf_counter()
        if way == "read":
            kept: Any = [file.read_bytes() for file in files]
            num_bytes = sum(map(len, kept))
        else:
            kept = load_model(Path(folder), dtype=kind, device=torch.device("cpu"))
            num_bytes = kept.weights_bytes()
        seconds = time.perf_counter() - began
    print(json.dumps(asdict(Measured(seconds, memory.own, memory.mapped, num_bytes))))


def _in_child(way: str, folder: Path, dtype: str) -> Measured:
    command = [sys.executable, "-c", CHILD, way, str(folder), dtype]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Measured(**json.loads(out.splitlines()[-1]))


def _read(file: Path) -> None:
    buffer = bytearray(PIECE)
    with file.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass


def _forget(file: Path) -> None:
    """Changes: the system's cache loses the file, where the system has a call for that."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class _Memory:
    """Notes the largest memory of this process while a block runs, as Linux counts it; elsewhere 0."""

    own = mapped = 0

    def __enter__(self) -> _Memory:
        self._first, self._is_done = _status(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            is_last = self._is_done.wait(SAMPLE_S)
            own, mapped = (now - then for now, then in zip(_status(), self._first, strict=True))
            self.own, self.mapped = max(self.own, own), max(self.mapped, mapped)
            if is_last:
                return


def _status() -> tuple[int, int]:
    """Returns the bytes of memory of its own, and of mapped files."""
    path = Path("/proc/self/status")
    if not path.exists():
        return 0, 0
    words = dict(line.split(":", 1) for line in path.read_text().splitlines())
    own, mapped = (int(words[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped
