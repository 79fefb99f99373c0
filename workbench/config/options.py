"""The keywords of `Engine` for type checkers and completion: all fields of `ServerArgs` except `model_path`, and
`enable_radix_cache`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from workbench.config.schemes import Quantization, TorchaoConfig


class ServerOptions(TypedDict, total=False):
    """The keywords of `ServerArgs.make`. None is the default; `workbench.ServerArgs` documents each."""

    tokenizer_path: str | os.PathLike[str] | None
    tokenizer_mode: Literal["auto"] | None
    skip_tokenizer_init: bool | None
    load_format: Literal["auto", "safetensors", "gguf", "pt", "dummy"] | None
    trust_remote_code: bool | None
    context_length: int | None
    chat_template: str | os.PathLike[str] | None
    revision: str | None
    json_model_override_args: str | Mapping[str, Any] | None
    is_embedding: bool | None
    download_dir: str | os.PathLike[str] | None

    dtype: Literal["auto", "float32", "bfloat16", "float16", "half"] | None
    device: Literal["auto", "cpu", "cuda"] | None
    num_threads: int | None
    quantization: Quantization | None
    torchao_config: TorchaoConfig | None
    attention_backend: Literal["auto", "torch", "reference"] | None
    disable_mla: bool | None
    sampling_backend: Literal["auto", "pytorch"] | None
    enable_nan_detection: bool | None

    kv_cache_dtype: Literal["auto", "float32", "bfloat16", "float16", "fp8_e5m2", "fp8_e4m3", "int8"] | None
    quantization_param_path: str | os.PathLike[str] | None
    mem_fraction_static: float | None
    max_total_tokens: int | None
    picture_memory_mb: int | None
    page_size: int | None
    eviction_policy: str | None
    disable_radix_cache: bool | None
    enable_radix_cache: bool | None

    max_running_requests: int | None
    max_queued_requests: int | None
    chunked_prefill_size: int | None
    max_prefill_tokens: int | None
    schedule_policy: str | None
    schedule_conservativeness: float | None
    prefill_only_one_req: bool | None
    enable_mixed_chunk: bool | None
    disable_overlap_schedule: bool | None

    grammar_backend: Literal["xgrammar", "outlines"] | None
    grammar_compile_workers: int | None
    grammar_compile_timeout_s: float | None
    grammar_compile_memory_mb: int | None
    constrained_json_whitespace_pattern: str | None
    disable_outlines_disk_cache: bool | None
    disable_jump_forward: bool | None

    random_seed: int | None
    stream_interval: int | None
    allow_auto_truncate: bool | None
    return_hidden_states: bool | None
    enable_custom_logit_processor: bool | None
    allowed_media: str | None

    event_log_size: int | None
    decode_log_interval: int | None
    log_level: Literal["debug", "info", "warning", "error"] | None
    log_requests: bool | None
    show_time_cost: bool | None

    host: str | None
    port: int | None
    api_key: str | None
    admin_api_key: str | None
    cors_origins: str | None
    root_path: str | None
    max_body_mb: float | None
    drain_timeout_s: float | None
    watchdog_timeout: float | None
    max_restarts: int | None
    served_model_name: str | None
    file_storage_pth: str | os.PathLike[str] | None
    enable_cache_report: bool | None
    tool_call_parser: Literal["llama3", "mistral", "qwen25", "hermes", "deepseekv3", "pythonic"] | None
    reasoning_parser: Literal["deepseek-r1", "qwen3", "mistral"] | None
    enable_metrics: bool | None
    metrics_alias: Literal["sglang"] | None
    otlp_traces_endpoint: str | None
    log_level_http: Literal["debug", "info", "warning", "error"] | None
