"""The progress lines of the reference on the `workbench.engine` logger (level info), spelled as dashboards expect them."""

from __future__ import annotations

import logging

from workbench.engine.core import EngineCore
from workbench.types import TokenOut

logger = logging.getLogger("workbench.engine")


class Progress:
    """Called after every step; writes one line in `interval` decode steps, and one for every retraction."""

    def __init__(self, core: EngineCore, interval: int) -> None:
        self._core = core
        self._interval = interval
        self._num_steps = 0
        self._num_tokens = 0
        self._since = core.clock()
        self._num_retractions = 0
        self._ratio = core.scheduler.new_token_ratio

    def note(self, outputs: list[TokenOut]) -> None:
        scheduler = self._core.scheduler
        if scheduler.num_retractions > self._num_retractions:
            count = scheduler.num_retractions - self._num_retractions
            self._num_retractions = scheduler.num_retractions
            logger.info(
                "decode out of memory happened, #retracted_reqs: %d, #new_token_ratio: %.4f -> %.4f",
                count,
                self._ratio,
                scheduler.new_token_ratio,
            )
        self._ratio = scheduler.new_token_ratio
        self._num_steps += 1
        self._num_tokens += sum(len(out.token_ids) for out in outputs)
        if self._num_steps >= self._interval:
            self._write()

    def _write(self) -> None:
        core, now = self._core, self._core.clock()
        used = core.cache.num_pages - core.cache.num_available_pages
        logger.info(
            "Decode batch. #running-req: %d, #token: %d, token usage: %.2f, gen throughput (token/s): %.2f, #queue-req: %d",
            len(core.scheduler.running),
            used * core.config.page_size,
            used / core.cache.num_pages,
            self._num_tokens / max(now - self._since, 1e-9),
            len(core.scheduler.waiting),
        )
        self._num_steps, self._num_tokens, self._since = 0, 0, now
