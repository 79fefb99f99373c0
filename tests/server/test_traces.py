"""Spans of a server's requests, as a collector on this machine receives them."""

from __future__ import annotations

import http.server
import re
import sys
import threading
import time

import httpx
import pytest
from byte_model import write_byte_model

from workbench.config import ServerArgs
from workbench.errors import InvalidRequest, NotSupported
from workbench.server.traces import open_traces
from workbench.types import EncodeRequest

GREEDY = {"max_new_tokens": 4, "ignore_eos": True, "temperature": 0}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Receives spans. `spans` are (attributes, span) in the order of their end."""

    def __init__(self):
        collected = pytest.importorskip(
            "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="the extra `otel` is not installed"
        )
        self.spans = spans = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                for resource in collected.ExportTraceServiceRequest.FromString(body).resource_spans:
                    names = {each.key: each.value.string_value for each in resource.resource.attributes}
                    assert names["service.name"] == "workbench"
                    spans.extend((attributes(span), span) for scope in resource.scope_spans for span in scope.spans)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def of(self, rid):
        """Returns (attributes, span) of a request, once they are here. The server sends them every five seconds."""
        deadline = time.monotonic() + 60
        while not (found := [each for each in self.spans if each[0]["gen_ai.response.id"] == rid]):
            assert time.monotonic() < deadline, [each[0] for each in self.spans]
            time.sleep(0.05)
        (only,) = found
        return only


def attributes(span):
    def value(of):
        kind = of.WhichOneof("value")
        return [value(each) for each in of.array_value.values] if kind == "array_value" else getattr(of, kind)

    return {each.key: value(each.value) for each in span.attributes}


@pytest.fixture(scope="module")
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def client(collector, server_process, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        server = server_process(
            "--model-path", str(write_byte_model(tmp_path_factory.mktemp("model"), 8000)), "--load-format", "dummy",
            "--max-total-tokens", "16000", "--otlp-traces-endpoint", collector.url, "--served-model-name", "m",
        )  # fmt: skip
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
    server.close()


@pytest.mark.process
def test_a_request_is_a_span_below_that_of_its_caller(client, collector):
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    assert client.get("/health_generate").status_code == 200
    client.post("/generate", json={"text": "hello", "sampling_params": GREEDY, "rid": "one"}, headers=headers)
    found, span = collector.of("one")
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.name) == (TRACE, PARENT, "text_completion m")
    wanted = {
        "gen_ai.operation.name": "text_completion", "gen_ai.provider.name": "workbench", "gen_ai.request.model": "m",
        "gen_ai.response.model": "m", "gen_ai.request.max_tokens": 4, "gen_ai.request.temperature": 0.0,
        "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 4, "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.response.finish_reasons": ["length"],
    }  # fmt: skip
    assert {name: found.get(name) for name in wanted} == wanted
    took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    assert 0 < found["gen_ai.response.time_to_first_chunk"] < took
    assert len(collector.spans) == 1, "checks of health have none"


@pytest.mark.process
@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_and_each_of_its_samples_are_spans_of_their_own(client, collector, stream):
    rid = f"chat-{stream}"
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "n": 2, "rid": rid, "stream": stream}
    assert client.post("/v1/chat/completions", json=body | {"ignore_eos": True}).status_code == 200
    for i in range(2):
        found, span = collector.of(f"{rid}-{i}")
        assert (found["gen_ai.operation.name"], found["gen_ai.usage.output_tokens"], span.parent_span_id) == ("chat", 3, b"")


@pytest.mark.process
def test_the_span_of_a_client_that_left_ends_as_an_error(client, collector):
    body = {"text": "hello", "sampling_params": GREEDY | {"max_new_tokens": 6000}, "rid": "left", "stream": True}
    with client.stream("POST", "/generate", json=body) as answer:
        next(answer.iter_lines())
    found, span = collector.of("left")
    assert (found["gen_ai.response.finish_reasons"], span.status.code, span.status.message) == (["abort"], 2, "cut off")


def test_a_text_with_a_vector_is_a_span(collector):
    traces = open_traces(args(f"{collector.url}/v1/traces"))
    traces.encoded([EncodeRequest(rid="text", input_ids=(1, 2, 3))], time.time_ns())
    traces.close()
    found, span = collector.of("text")
    assert (found["gen_ai.usage.input_tokens"], span.name) == (3, "embeddings m")


def args(endpoint):
    return ServerArgs.make("m", otlp_traces_endpoint=endpoint)


def test_without_its_packages_the_error_has_the_command_that_installs_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(NotSupported, match=re.escape("otlp_traces_endpoint needs OpenTelemetry")) as caught:
        open_traces(args("http://127.0.0.1:4318"))
    assert "[otel]" in caught.value.hint


def test_an_endpoint_that_is_no_address_is_refused_and_none_is_no_traces():
    with pytest.raises(InvalidRequest, match="otlp_traces_endpoint"):
        open_traces(args("localhost:4317"))
    assert open_traces(args(None)) is None
