"""`HttpArgs`: the settings of the server, apart from those of its engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from workbench.config.groups import Group
from workbench.config.limits import ABOVE_0, ABOVE_0_S, at_least, at_most


@dataclass(frozen=True, kw_only=True)
class HttpArgs(Group):
    """The server: its address, its keys, its limits, and the APIs' options. An `Engine` opens no port and uses none of them."""

    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0: all addresses of the machine."""
    port: Annotated[int, at_least(0), at_most(65535)] = 30000
    """Port to listen on. 0: a free one."""
    api_key: str | None = None
    """Key that every request must bring, except those about health. None: no key."""
    admin_api_key: str | None = None
    """Key for management calls: weights, cache, profiles, aborts. None: api_key is asked for these too."""
    cors_origins: str | None = None
    """Origins, separated by commas, whose web pages may call the server. None: no page of another origin may."""
    root_path: str | None = None
    """Prefix of all paths as a proxy shows them, such as /llm."""
    max_body_mb: Annotated[float, ABOVE_0] = 64.0
    """Largest request body in megabytes."""
    drain_timeout_s: Annotated[float, ABOVE_0_S] = 30.0
    """Seconds that running requests have to finish after SIGTERM; then they are aborted."""
    watchdog_timeout: Annotated[float, ABOVE_0_S] = 300.0
    """Seconds that one step may take; then the engine is ended and started again."""
    max_restarts: Annotated[int, at_least(0)] = 3
    """Restarts of an engine that died within ten minutes; after one more the server stays without."""
    served_model_name: str | None = None
    """Name of the model in answers and in /v1/models. None: model_path."""
    file_storage_pth: str = "sglang_storage"
    """Folder of uploaded files, batches and their results."""
    enable_cache_report: bool = False
    """Switch to report cached tokens in `usage`. They are reported anyway."""
    tool_call_parser: Literal["llama3", "mistral", "qwen25", "hermes", "deepseekv3", "pythonic"] | None = None
    """Format in which the model writes calls of tools. None: the one whose marks the chat template has, else llama3."""
    reasoning_parser: Literal["deepseek-r1", "qwen3", "mistral"] | None = None
    """Format in which the model marks its reasoning. None: it stays in the text."""
    enable_metrics: bool = False
    """Switch to serve Prometheus metrics at /metrics."""
    metrics_alias: Literal["sglang"] | None = None
    """Second prefix of the metrics' names, for dashboards of the reference."""
    otlp_traces_endpoint: str | None = None
    """Address of an OpenTelemetry collector (OTLP over HTTP) that gets a span of every request. None: no traces."""
    log_level_http: Literal["debug", "info", "warning", "error"] | None = None
    """Verbosity of the HTTP server's own log. None: log_level."""
