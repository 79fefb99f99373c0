"""The engines of a session: their models, devices, age and load; and the progress and the result of loading one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from workbench.html.escape import to_html, visible
from workbench.html.parts import View, duration, lines, size, table


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStatus:
    """One engine, as its `get_server_info()` and its event log describe it."""

    name: str
    model: str
    device: str
    dtype: str
    place: str
    """"this process" or "child process"."""
    uptime_s: float
    weights: str = ""
    """Size of the weights, and the form of quantised ones."""
    kv: str = ""
    """Type of the K/V, and the size of one token's."""
    kernels: str = ""
    """"compiled for" an instruction set, or "torch" with the reason in brackets."""
    reads: str = ""
    """Memory that decoding reads for a token, and the share of the bandwidth where that was measured; empty if unknown."""
    pictures: str = ""
    """Memory of what the model made of pictures, and the most there is for it; empty for one that sees none."""
    num_running: int = 0
    num_waiting: int = 0
    cached_tokens: int = 0
    """Prompt tokens taken from the cache so far, out of `prompt_tokens`."""
    prompt_tokens: int = 0

    @property
    def hit_rate(self) -> float | None:
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None

    def cells(self) -> tuple[str, ...]:
        hits = "no prompts yet" if self.hit_rate is None else f"{self.hit_rate:.0%} of {self.prompt_tokens:,} tokens"
        kernels = self.kernels.partition(" ")[0]
        return (
            self.name,
            self.model,
            self.device,
            self.dtype,
            self.weights,
            self.kv,
            kernels,
            self.place,
            duration(self.uptime_s),
            f"{self.num_running:,} running, {self.num_waiting:,} waiting",
            hits,
        )


HEAD = (
    "engine",
    "model",
    "device",
    "dtype",
    "weights",
    "K/V",
    "kernels",
    "runs in",
    "up",
    "requests",
    "prompt tokens from cache",
)
NUMERIC = (8,)
NAMES = (0, 1)
"""Columns of names, which may be long: only these are broken within a word."""


@dataclass(frozen=True, repr=False)
class Status(View):
    engines: tuple[EngineStatus, ...]
    note: str = ""
    """A warning of what slows all engines; usually empty."""

    def to_text(self) -> str:
        if not self.engines:
            return NOTHING
        rows = lines(HEAD, [e.cells() for e in self.engines], numeric=NUMERIC)
        return "\n".join([rows, *map(visible, self._below())])

    def body(self) -> str:
        if not self.engines:
            return f"<p>{to_html(NOTHING)}</p>"
        below = "".join(f"<p>{to_html(line)}</p>" for line in self._below())
        whole = [i for i in range(len(HEAD)) if i not in NAMES]
        return table(HEAD, [e.cells() for e in self.engines], numeric=NUMERIC, whole=whole) + below

    def _below(self) -> list[str]:
        """Returns the lines under the table."""
        reads = [f"memory read per token of engine {e.name}: {e.reads}" for e in self.engines if e.reads]
        pictures = [f"memory for pictures of engine {e.name}: {e.pictures}" for e in self.engines if e.pictures]
        return [*reads, *pictures, *filter(None, [self.note])]

    def to_dict(self) -> dict[str, Any]:
        return {e.name: asdict(e) for e in self.engines}


@dataclass(frozen=True, repr=False)
class Loading(View):
    """The progress of a load. A total of 0 is unknown."""

    model: str
    what: str
    done: int = 0
    total: int = 0

    def to_text(self) -> str:
        return visible(f"loading {self.model}: {self.what}{self._amount()}")

    def body(self) -> str:
        share = 100 * min(self.done / self.total, 1) if self.total else 0
        bar = f'<div class="wb-bar"><span class="wb-decode" style="flex:0 0 {share:.1f}%"></span></div>' if self.total else ""
        return f"<p>loading <b>{to_html(self.model)}</b>: {to_html(self.what + self._amount())}</p>{bar}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def _amount(self) -> str:
        return f", {size(self.done)} of {size(self.total)}" if self.total else " …"


@dataclass(frozen=True, repr=False)
class Loaded(View):
    """The result of `%wb load`. It holds no time: the same load prints the same."""

    status: EngineStatus
    note: str
    pool_tokens: int | None = None
    warning: str = ""
    """A warning of what slows the engine from outside; usually empty."""

    def to_text(self) -> str:
        said = f"{self.note}: {self.status.model} {self._where()}"
        return visible(f"{said}\n{self.warning}" if self.warning else said)

    def body(self) -> str:
        warning = f"<p>{to_html(self.warning)}</p>" if self.warning else ""
        return f"<p>{to_html(self.note)}: <b>{to_html(self.status.model)}</b> {to_html(self._where())}</p>{warning}"

    def to_dict(self) -> dict[str, Any]:
        return {"note": self.note, "pool_tokens": self.pool_tokens, **asdict(self.status)}

    def _where(self) -> str:
        pool = f", room for {self.pool_tokens:,} tokens of context" if self.pool_tokens else ""
        weights = f", weights: {self.status.weights}" if self.status.weights else ""
        kv = f", K/V: {self.status.kv}" if self.status.kv else ""
        kernels = f", kernels: {self.status.kernels}" if self.status.kernels else ""
        return f"on {self.status.device} in {self.status.dtype}, in {self.status.place}{weights}{kv}{kernels}{pool}"


@dataclass(frozen=True, slots=True)
class Process:
    """A process that runs an engine. `engines` is empty for one that this session did not start."""

    pid: int
    what: str
    engines: tuple[str, ...]
    rss_bytes: int
    num_threads: int


@dataclass(frozen=True, repr=False)
class Processes(View):
    rows: tuple[Process, ...]

    def to_text(self) -> str:
        return lines(PS_HEAD, self._cells(), numeric=(0, 3, 4))

    def body(self) -> str:
        return table(PS_HEAD, self._cells(), numeric=(0, 3, 4))

    def to_dict(self) -> dict[str, Any]:
        return {str(p.pid): asdict(p) for p in self.rows}

    def _cells(self) -> list[tuple[str, ...]]:
        return [(str(p.pid), p.what, ", ".join(p.engines) or "none", size(p.rss_bytes), f"{p.num_threads:,}") for p in self.rows]


PS_HEAD = ("pid", "process", "engines", "memory", "threads")
NOTHING = "no engine is running; %wb load starts one"
