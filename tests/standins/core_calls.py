"""The calls on a core that runs without a model."""

from __future__ import annotations

from workbench.client.answers import EngineInfo, WeightsInfo
from workbench.engine.calls import CoreCalls
from workbench.engine.core import EngineCore

WEIGHTS = WeightsInfo(model_path="none", load_format="dummy", architecture="FakeRunner", dtype="float32", num_bytes=0)


def info_of(core: EngineCore) -> EngineInfo:
    config = core.config
    return EngineInfo(
        device="cpu", dtype="float32", kv_cache_dtype="float32", architecture="FakeRunner", attention_backend="none",
        num_threads=1, context_length=config.context_length, vocab_size=config.vocab_size,
        max_total_num_tokens=config.num_pages * config.page_size, max_running_requests=config.max_running_requests,
        chunked_prefill_size=config.chunked_prefill_size, random_seed=config.random_seed, weights_bytes=0,
        kv_bytes_per_token=0, load_s=0.0,
    )  # fmt: skip


def core_calls(core: EngineCore, kind: type[CoreCalls] = CoreCalls) -> CoreCalls:
    return kind(core, info_of(core), WEIGHTS)
