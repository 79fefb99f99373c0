"""`CoreCalls`: the calls on an engine, answered by its core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
from msgspec import structs

from workbench.cache.lookup import Lookup
from workbench.client.answers import EngineInfo, Load, Snapshot, WeightsInfo
from workbench.engine.core import EngineCore
from workbench.engine.encode_call import EncodeCall, Encodes
from workbench.engine.profiler import Profiler
from workbench.engine.snapshot import snapshot
from workbench.errors import NotSupported
from workbench.events import BandwidthMeasured
from workbench.types import EncodeRequest, HiddenRows


@dataclass(frozen=True)
class RunnerStatus:
    """The state of the runner that changes while it runs."""

    kernels: str
    """The kernels that compute: "compiled", "torch", ..."""
    kv_touched_tokens: int
    """Tokens of the K/V store that have been written at least once."""
    picture_bytes: int = 0
    """Memory of what the model made of pictures and still keeps."""


Replace = Callable[[str, str | None], WeightsInfo]
"""The function that loads other weights into the runner. It raises, with no change, if they do not fit."""


def keep_weights(model_path: str, load_format: str | None) -> WeightsInfo:
    """Refuses other weights: the `Replace` of an engine without a model."""
    raise NotSupported("this engine has no weights to replace", hint="load a model")


def keep_tensors(tensors: bytes) -> WeightsInfo:
    """Refuses tensors, for an engine without a model."""
    raise NotSupported("this engine has no weights to replace", hint="load a model")


def no_memory() -> float:
    """Refuses to measure: the engine has no model, and so no device."""
    raise NotSupported("this engine has no device whose memory could be measured", hint="load a model")


class CoreCalls:
    """`EngineCalls` over a core. Runs on the engine's thread, between two steps."""

    def __init__(
        self,
        core: EngineCore,
        info: EngineInfo,
        weights: WeightsInfo,
        status: Callable[[], RunnerStatus] = lambda: RunnerStatus("none", 0),
        encoder: Encodes | None = None,
        replace: Replace = keep_weights,
        bandwidth: Callable[[], float] = no_memory,
        overlay: Callable[[bytes], WeightsInfo] = keep_tensors,
    ) -> None:
        """Answers for `core`; `status` reads the state of its runner, by default of one that computes nothing. An engine of
        embeddings has an `encoder`; `replace` loads other weights into the runner, `overlay` some tensors;
        `bandwidth` measures its device."""
        self._core = core
        self._info = info
        self._weights = weights
        self._status = status
        self._encode = None if encoder is None else EncodeCall(core, encoder)
        self._replace = replace
        self._bandwidth = bandwidth
        self._overlay = overlay
        self._measured: BandwidthMeasured | None = None
        self._profiler = Profiler()

    def info(self) -> EngineInfo:
        return self._info

    def now(self) -> float:
        return self._core.clock()

    def get_load(self) -> Load:
        scheduler, cache = self._core.scheduler, self._core.cache
        page, status = self._core.config.page_size, self._status()
        return Load(
            num_running=len(scheduler.running), num_compiling=len(scheduler.compiling),
            num_waiting=len(scheduler.waiting) + len(scheduler.compiling), is_paused=scheduler.admission.is_paused,
            new_token_ratio=scheduler.new_token_ratio, num_retractions=scheduler.num_retractions,
            tokens_free=cache.num_free_pages * page, tokens_tree=cache.num_tree_pages * page,
            tokens_running=cache.num_owned_pages * page,
            kernels=status.kernels, kv_touched_tokens=status.kv_touched_tokens, picture_bytes=status.picture_bytes,
            process_rss_bytes=psutil.Process().memory_info().rss, available_bytes=psutil.virtual_memory().available,
            memory_bandwidth=None if self._measured is None else self._measured.bytes_per_s,
        )  # fmt: skip

    def snapshot(self) -> Snapshot:
        taken = snapshot(self._core)
        return taken if self._measured is None else Snapshot([self._measured, *taken.events])

    def match_prefix(self, token_ids: Sequence[int], namespace: str = "") -> Lookup:
        return self._core.cache.explain(tuple(token_ids), namespace)

    def encode(self, texts: list[EncodeRequest]) -> HiddenRows:
        if self._encode is None:
            raise NotSupported("this engine makes text, no embeddings", hint="load the model with is_embedding=True")
        return self._encode(texts)

    def flush_cache(self) -> int:
        return self._core.flush_cache()

    def token_detail(self, on: bool) -> None:
        self._core.scheduler.detail = on and self._core.log.on  # without a log it would be found and thrown away

    def pause_generation(self) -> None:
        self._core.scheduler.admission.pause()

    def continue_generation(self) -> None:
        self._core.scheduler.admission.is_paused = False

    def weights(self) -> WeightsInfo:
        return self._weights

    def update_weights_from_disk(self, model_path: str, load_format: str | None = None) -> WeightsInfo:
        return self._compute_with(self._replace(model_path, load_format))

    def update_weights_from_tensor(self, tensors: bytes) -> WeightsInfo:
        return self._compute_with(self._overlay(tensors))

    def _compute_with(self, weights: WeightsInfo) -> WeightsInfo:
        """Makes these the weights of all answers, and drops the K/V of those before."""
        self._weights = weights
        self._info = structs.replace(
            self._info,
            weights_bytes=weights.num_bytes,
            decode_weights_bytes=weights.decode_bytes,
            quantization=weights.quantization,
        )
        self._core.drop_kv()
        return weights

    def measure_bandwidth(self) -> float:
        found = self._bandwidth()
        self._measured = BandwidthMeasured(time=self._core.clock(), bytes_per_s=found)
        if self._core.log.on:
            self._core.log.add(self._measured)
        return found

    def start_profile(self, folder: str) -> None:
        self._profiler.start(folder)

    def stop_profile(self) -> str:
        return self._profiler.stop()
