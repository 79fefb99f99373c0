"""`Traces`: one OpenTelemetry span for each request, sent to a collector with OTLP over HTTP.

Attributes are those of the semantic conventions for generative AI.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import workbench
from workbench.config import ServerArgs
from workbench.errors import InvalidRequest, NotSupported, install
from workbench.native.call import CALL
from workbench.types import EncodeRequest, Request, TokenOut

CHATS = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat")
HEALTH_PATH = "/health_generate"
"""Path whose requests have no spans."""
TIMEOUT_S = 5.0
"""Seconds that the collector has to take spans; after that they are dropped."""


def open_traces(args: ServerArgs) -> Traces | None:
    """Returns the traces of a server, None where none are wanted. Raises NotSupported without their packages."""
    return None if args.otlp_traces_endpoint is None else Traces(args, args.otlp_traces_endpoint)


class Traces:
    """Makes spans and sends them from a thread of its own."""

    def __init__(self, args: ServerArgs, endpoint: str) -> None:
        url = urlsplit(endpoint)
        if url.scheme not in ("http", "https") or not url.netloc:
            raise InvalidRequest("otlp_traces_endpoint", endpoint, "an address such as http://127.0.0.1:4318/v1/traces")
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise NotSupported(f"otlp_traces_endpoint needs OpenTelemetry ({error})", hint=install("otel")) from None
        name = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "workbench"}
        self._provider = TracerProvider(resource=Resource.create(name))
        address = endpoint if url.path.strip("/") else f"{endpoint.rstrip('/')}/v1/traces"
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address, timeout=TIMEOUT_S)))
        self._tracer = self._provider.get_tracer("workbench", workbench.__version__)
        self._kind, self._failed = trace.SpanKind.SERVER, trace.StatusCode.ERROR
        self._parent = TraceContextTextMapPropagator().extract
        self._model = args.served_model_name or args.model_path

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()

    def observe(self, requests: Sequence[Request]) -> RequestSpans:
        """Begins the spans of the requests of one call."""
        path = CALL.get().path
        operation = "chat" if path in CHATS else "text_completion"
        seen = () if path == HEALTH_PATH else requests
        return RequestSpans(self, [self._begin(operation, _asked(request)) for request in seen])

    def encoded(self, texts: Sequence[EncodeRequest], started: int) -> None:
        """Adds the spans of texts whose vectors are there; `started` is in nanoseconds."""
        for text in texts:
            span = self._begin("embeddings", {"gen_ai.response.id": text.rid}, started)
            span.set_attribute("gen_ai.usage.input_tokens", len(text.input_ids))
            span.end()

    def end(self, span: Any, attributes: dict[str, Any], fault: str) -> None:
        """Ends a span, as an error if there is a fault."""
        span.set_attributes(attributes)
        if fault:
            span.set_status(self._failed, fault)
        span.end()

    def _begin(self, operation: str, attributes: dict[str, Any], started: int | None = None) -> Any:
        fixed = {
            "gen_ai.operation.name": operation, "gen_ai.provider.name": "workbench", "gen_ai.request.model": self._model,
            "gen_ai.response.model": self._model,
        }  # fmt: skip
        context = self._parent(CALL.get().parents)
        return self._tracer.start_span(
            f"{operation} {self._model}", context=context, kind=self._kind, attributes=fixed | attributes, start_time=started
        )


class RequestSpans:
    """The spans of one call. Each ends with the last output of its request, or at `close` if that was not read."""

    def __init__(self, traces: Traces, spans: Sequence[Any]) -> None:
        self._traces = traces
        self._open = dict(enumerate(spans))
        self._began = time.monotonic()
        self._first: dict[int, float] = {}
        self._counts: dict[int, int] = dict.fromkeys(self._open, 0)
        self._cached: dict[int, int] = {}

    def add(self, i: int, out: TokenOut) -> None:
        """Adds an output of request `i`."""
        if i not in self._open:
            return
        if out.token_ids:
            self._first.setdefault(i, time.monotonic() - self._began)
        self._counts[i] += len(out.token_ids)
        self._cached[i] = out.num_cached
        if out.finish is not None:
            fault = (out.finish.message or "aborted") if out.finish.type == "abort" else ""
            self._end(i, out.finish.type, fault)

    def close(self) -> None:
        """Ends what is open: the reader left, or the engine ended."""
        for i in [*self._open]:
            self._end(i, "abort", "cut off")

    def _end(self, i: int, reason: str, fault: str) -> None:
        span = self._open.pop(i, None)
        if span is None:
            return
        attributes: dict[str, Any] = {
            "gen_ai.usage.output_tokens": self._counts[i],
            "gen_ai.usage.cache_read.input_tokens": self._cached.get(i, 0),
            "gen_ai.response.finish_reasons": [reason],
        }
        if i in self._first:
            attributes["gen_ai.response.time_to_first_chunk"] = self._first[i]
        self._traces.end(span, attributes, fault)


def _asked(request: Request) -> dict[str, Any]:
    params = request.params
    facts = {
        "response.id": request.rid, "usage.input_tokens": len(request.input_ids), "request.seed": request.seed,
        "request.max_tokens": params.max_new_tokens, "request.temperature": params.temperature, "request.top_p": params.top_p,
        "request.top_k": params.top_k, "request.frequency_penalty": params.frequency_penalty,
        "request.presence_penalty": params.presence_penalty, "request.stop_sequences": list(params.stop) or None,
    }  # fmt: skip
    return {f"gen_ai.{name}": value for name, value in facts.items() if value is not None}
