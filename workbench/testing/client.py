"""A client of a core without a model."""

from __future__ import annotations

from workbench.client.answers import EngineInfo, WeightsInfo
from workbench.engine.calls import CoreCalls
from workbench.engine.core import EngineCore
from workbench.engine.local_client import LocalClient, Prepare


def core_calls(core: EngineCore, kind: type[CoreCalls] = CoreCalls) -> CoreCalls:
    """Returns the calls on a core that has no model."""
    config, name = core.config, type(core.runner).__name__
    info = EngineInfo(
        device="cpu", dtype="float32", kv_cache_dtype="float32", architecture=name, attention_backend="none", num_threads=1,
        context_length=config.context_length, vocab_size=config.vocab_size, random_seed=config.random_seed,
        max_total_num_tokens=config.num_pages * config.page_size, max_running_requests=config.max_running_requests,
        chunked_prefill_size=config.chunked_prefill_size, weights_bytes=0, kv_bytes_per_token=0, load_s=0.0,
    )  # fmt: skip
    weights = WeightsInfo(model_path="", load_format="dummy", architecture=name, dtype="float32", num_bytes=0)
    return kind(core, info, weights)


def make_client(
    core: EngineCore, prepare: Prepare = lambda request: (None, None), calls: type[CoreCalls] = CoreCalls
) -> LocalClient:
    """Returns a client that runs the core on a thread. Close it."""
    return LocalClient(core, prepare, core_calls(core, calls))
