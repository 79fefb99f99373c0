"""`/metrics`: Prometheus metrics as a fold over the engine's event log, read beside the engine and never on its path."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.responses import PlainTextResponse, Response

from workbench.api.handle import Handle
from workbench.client.answers import EngineInfo, Load
from workbench.errors import EngineDead
from workbench.events import (
    Event,
    PrefixMatched,
    RequestArrived,
    RequestFinished,
    RequestRetracted,
    StepExecuted,
    TokenSampled,
)
from workbench.server.problem import Problem
from workbench.server.serving import Serving, serving_of

router = APIRouter()
READ_S = 1.0
"""Seconds between two readings of the log."""
RATE_S = 10.0
"""Seconds over which the throughput is the mean."""
TTFT = (.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 15, 20, 25, 30)  # fmt: skip
E2E = (.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60)  # fmt: skip
PER_TOKEN = (.005, .01, .015, .02, .025, .03, .04, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5)  # fmt: skip
FUNCTION = tuple(0.05 * 1.5**k for k in range(18))
"""Upper bounds of the buckets in seconds; those of the reference."""
REASONS = ("stop", "length", "abort")


class MetricSet:
    """All metrics under one prefix. Each is there from the start, so that a dashboard shows zeros before the first request."""

    def __init__(self, prefix: str, model: str, function: str, registry: CollectorRegistry) -> None:
        def make(kind: Any, name: str, help: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
            metric = kind(f"{prefix}{name}", help, ("model_name", *labels), registry=registry, **more)
            return metric if labels else metric.labels(model)

        self.prompt_tokens = make(Counter, "prompt_tokens", "Number of prefill tokens processed.")
        self.generation_tokens = make(Counter, "generation_tokens", "Number of generation tokens processed.")
        self.cached_tokens = make(Counter, "cached_tokens", "Number of prompt tokens whose K/V was reused.")
        requests = make(Counter, "num_requests", "Number of requests that have ended, by their reason.", ("reason",))
        self.requests = {reason: requests.labels(model, reason) for reason in REASONS}
        self.retractions = make(Counter, "num_retractions", "Number of retractions of running requests.")
        self.ttft = make(Histogram, "time_to_first_token_seconds", "Time to the first token in seconds.", buckets=TTFT)
        self.e2e = make(Histogram, "e2e_request_latency_seconds", "Time from arrival to end in seconds.", buckets=E2E)
        self.per_token = make(
            Histogram, "time_per_output_token_seconds", "Time per output token after the first, in seconds.", buckets=PER_TOKEN
        )
        functions = make(Histogram, "func_latency_seconds", "Time of a function in seconds.", ("name",), buckets=FUNCTION)
        self.function = functions.labels(model, function)
        self.running = make(Gauge, "num_running_reqs", "Number of requests in the batch.")
        self.queued = make(Gauge, "num_queue_reqs", "Number of requests that wait.")
        self.used_tokens = make(Gauge, "num_used_tokens", "Number of tokens in use of the K/V pool.")
        self.token_usage = make(Gauge, "token_usage", "Fraction of the K/V pool that is in use.")
        self.picture_bytes = make(Gauge, "picture_bytes", "Memory of what the model made of pictures and keeps, in bytes.")
        self.picture_usage = make(Gauge, "picture_usage", "Fraction of the memory for pictures that is in use.")
        self.throughput = make(Gauge, "gen_throughput", "Generated tokens per second.")
        self.hit_rate = make(Gauge, "cache_hit_rate", "Fraction of prompt tokens whose K/V was reused.")


@dataclass(slots=True)
class Timing:
    """Times of one request, on the engine's clock, and its output."""

    arrived: float
    first: float | None = None
    num_output: int = 0


class Metrics:
    """The metrics of one server. `read` folds what is new in the log."""

    def __init__(self, serving: Serving) -> None:
        self.registry = CollectorRegistry()
        prefixes = ["workbench_", *(["sglang:"] if serving.args.metrics_alias == "sglang" else [])]
        function = "encode_request" if serving.args.is_embedding else "generate_request"
        self._sets = [MetricSet(prefix, serving.name, function, self.registry) for prefix in prefixes]
        self._serving = serving
        self._timings: dict[str, Timing] = {}
        self._ended: set[str] = set()
        """Requests whose last step's event comes after their end."""
        self._lock = threading.Lock()
        self._num_prompt = self._num_cached = 0
        self._recent: deque[float] = deque()
        """Times of the tokens of the last `RATE_S` seconds."""
        self._closing = threading.Event()
        serving.on_engine(self._follow)
        threading.Thread(target=self._run, name="workbench-metrics", daemon=True).start()

    def close(self) -> None:
        """Ends the thread that reads."""
        self._closing.set()

    def _follow(self, handle: Handle) -> None:
        """Reads another engine's log from its beginning. Requests of the one before count as lost."""
        with self._lock:
            self._log, self._number = handle.log, 0
            self._timings.clear()
            self._ended.clear()

    def _run(self) -> None:
        while not self._closing.wait(READ_S):
            self.read()

    def read(self) -> None:
        """Folds the new events. What the bounded log has dropped meanwhile is not counted, nor are the requests open then."""
        with self._lock:
            first, events = self._log.read(self._number)
            if first > self._number:  # among what was dropped are ends of requests, which would stay here for ever
                self._timings.clear()
            self._number = first + len(events)
            for event in events:
                self._apply(event)

    def _each(self, change: Callable[[MetricSet], Any]) -> None:
        for metrics in self._sets:
            change(metrics)

    def _apply(self, event: Event) -> None:
        match event:
            case RequestArrived(rid=rid, time=time, namespace=namespace):
                if namespace != HEALTH and not self._serving.is_unlogged(rid):
                    self._timings[rid] = Timing(time)
            case PrefixMatched(rid=rid, num_cached=num_cached, num_prompt=num_prompt) if rid in self._timings:
                self._num_prompt += num_prompt
                self._num_cached += num_cached
                self._each(lambda m: m.cached_tokens.inc(num_cached))
            case StepExecuted(members=members):
                counted = (self._timings, self._ended)
                prompts = (each for each in members if each.kind == "prefill" and any(each.rid in rids for rids in counted))
                computed = sum(each.num_new for each in prompts)
                self._each(lambda m: m.prompt_tokens.inc(computed))
                self._ended.clear()
            case TokenSampled(rid=rid, time=time) if rid in self._timings:
                self._sampled(self._timings[rid], time)
            case RequestRetracted(rid=rid) if rid in self._timings:
                self._each(lambda m: m.retractions.inc())
            case RequestFinished(rid=rid, time=time, reason=reason) if rid in self._timings:
                self._finished(self._timings.pop(rid), time, reason)
                self._ended.add(rid)

    def _sampled(self, timing: Timing, time: float) -> None:
        timing.num_output += 1
        self._recent.append(time)
        self._drop_old(time)
        if timing.first is None:
            timing.first = time
            self._each(lambda m: m.ttft.observe(time - timing.arrived))
        self._each(lambda m: m.generation_tokens.inc())

    def _finished(self, timing: Timing, time: float, reason: str) -> None:
        took = time - timing.arrived
        self._each(lambda m: m.requests[reason].inc())
        self._each(lambda m: m.e2e.observe(took))
        self._each(lambda m: m.function.observe(took))
        if timing.first is not None and timing.num_output > 1:
            per_token = (time - timing.first) / (timing.num_output - 1)
            self._each(lambda m: m.per_token.observe(per_token))

    def _drop_old(self, now: float) -> None:
        """Drops the times that are no part of the throughput any more, whether a scrape comes or not."""
        while self._recent and now - self._recent[0] > RATE_S:
            self._recent.popleft()

    def gauges(self, load: Load, now: float, info: EngineInfo) -> None:
        """Sets the gauges to the engine's present state; `now` is on its clock."""
        capacity, room = info.max_total_num_tokens, info.picture_memory_bytes
        with self._lock:
            used = capacity - load.tokens_free - load.tokens_tree
            self._drop_old(now)
            for m in self._sets:
                m.running.set(load.num_running)
                m.queued.set(load.num_waiting)
                m.used_tokens.set(used)
                m.token_usage.set(used / capacity)
                m.picture_bytes.set(load.picture_bytes)
                m.picture_usage.set(load.picture_bytes / room if room else 0)
                m.throughput.set(len(self._recent) / RATE_S)
                m.hit_rate.set(self._num_cached / max(self._num_prompt, 1))


HEALTH = "health"
"""Namespace of requests that check the server's health; they are left out."""


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(http: Request) -> Response:
    """Returns all metrics in Prometheus' text form."""
    found: Metrics | None = http.app.state.metrics
    if found is None:
        raise Problem(404, "metrics are off: serve with --enable-metrics")
    return Response(await asyncio.to_thread(_scrape, found, serving_of(http)), media_type=CONTENT_TYPE_LATEST)


def _scrape(found: Metrics, serving: Serving) -> bytes:
    engine = serving.handle.client.engine
    try:
        load, now = engine.get_load(), engine.now()
    except EngineDead:
        found.read()
    else:
        found.read()
        found.gauges(load, now, serving.handle.info)
    return generate_latest(found.registry)
