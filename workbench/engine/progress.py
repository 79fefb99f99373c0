"""The progress lines of the reference on the `workbench.engine` logger (level info), spelled as dashboards expect them."""

from __future__ import annotations

import logging

from workbench.engine.core import EngineCore
from workbench.events import RequestScheduled, StepExecuted
from workbench.types import TokenOut

logger = logging.getLogger("workbench.engine")


class Progress:
    """Called after every step; writes a line for each prefill, each retraction, and every `interval` steps."""

    def __init__(self, core: EngineCore, interval: int) -> None:
        self._core = core
        self._interval = interval
        self._num_steps = 0
        self._num_tokens = 0
        self._since = core.clock()
        self._num_retractions = 0
        self._ratio = core.scheduler.new_token_ratio
        self._number = core.log.num_added
        """The number of the next event to read."""
        self._num_cached = self._num_computed = 0

    def note(self, outputs: list[TokenOut]) -> None:
        """Writes what is due after a step."""
        scheduler = self._core.scheduler
        if self._core.log.on and logger.isEnabledFor(logging.INFO):
            self._write_prefill()
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
        self._num_steps += bool(outputs)
        self._num_tokens += sum(len(out.token_ids) for out in outputs)
        if self._num_steps >= self._interval:
            self._write()

    def _write_prefill(self) -> None:
        """Writes a line if the last step computed prompts. The events of the step have their numbers."""
        core, log = self._core, self._core.log
        first, events = log.read(self._number)
        self._number = first + len(events)
        members = [each for event in events if isinstance(event, StepExecuted) for each in event.members]
        prompts = [each.num_new for each in members if each.kind == "prefill"]
        cached = sum(event.num_cached for event in events if isinstance(event, RequestScheduled))
        self._num_cached, self._num_computed = self._num_cached + cached, self._num_computed + sum(prompts)
        if prompts:
            logger.info(
                "Prefill batch. #new-seq: %d, #new-token: %d, #cached-token: %d, cache hit rate: %.2f%%, token usage: %.2f, "
                "#running-req: %d, #queue-req: %d",
                len(prompts), sum(prompts), cached, 100 * self._num_cached / max(self._num_cached + self._num_computed, 1),
                1 - core.cache.num_available_pages / core.cache.num_pages, len(core.scheduler.running),
                len(core.scheduler.waiting),
            )  # fmt: skip

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
