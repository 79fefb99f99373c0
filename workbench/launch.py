"""The one place that names concrete classes: from `ServerArgs` to a running engine. Every "auto" is settled here."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from workbench.attention.kv import KVStore, bytes_per_token
from workbench.attention.registry import backend_name, create_backend, create_store
from workbench.config import CacheArgs, ScheduleArgs, ServerArgs
from workbench.engine.core import EngineCore
from workbench.engine.jump import JumpForward
from workbench.engine.limits import CoreConfig
from workbench.engine.runner import TorchRunner
from workbench.engine.sampler import Sampler
from workbench.engine.snapshot import snapshot
from workbench.engine.worker import EngineThread, LocalClient
from workbench.errors import InvalidRequest, NotSupported
from workbench.events import EventLog
from workbench.grammar import GrammarCompiler, Limits, Options, Vocabulary
from workbench.hub.progress import READING, Progress, Relay
from workbench.kernels.compiled import COMPILING, kernels, mode
from workbench.logit_processor import load_processor
from workbench.model.base import CausalLM
from workbench.model.config import read_config
from workbench.model.load import load_model
from workbench.opened import Opened, find_model, find_tokenizer, model_override
from workbench.text.detokenizer import TextStream
from workbench.text.tokenizer import Tokenizer
from workbench.types import Request

logger = logging.getLogger("workbench")
CPU_POOL_SHARE, CUDA_STATIC_SHARE = 0.25, 0.9
CPU_CHUNK, CUDA_CHUNK = 1024, 8192
CPU_MAX_RUNNING, CUDA_MAX_RUNNING = 64, 512
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "half": torch.float16}


def open_engine(args: ServerArgs, progress: Progress | None = None, *, clock: Callable[[], float] = time.monotonic) -> Opened:
    """Loads the model and starts the engine's thread. Raises a `WorkbenchError` for what a user can mend.

    `progress` is called on this thread; without it, bars are drawn for what is fetched and converted.
    """
    logging.getLogger("workbench").setLevel(args.log_level.upper())
    started = clock()
    thread, relay = EngineThread(), Relay()
    try:
        opened = relay.wait(thread.start(lambda: _build(args, clock, thread, None if progress is None else relay)), progress)
    except BaseException:
        thread.join()
        raise
    opened.info["load_s"] = clock() - started
    if args.show_time_cost:
        logger.warning("loaded %s in %.2f s", args.model_path, opened.info["load_s"])
    return opened


def _build(args: ServerArgs, clock: Callable[[], float], thread: EngineThread, progress: Progress | None) -> Opened:
    """Runs on the engine's thread, as all that touches torch does."""
    loaded = load_runner(args, progress)
    runner, tokenizer = loaded.runner, loaded.tokenizer
    seed = secrets.randbits(31) if args.random_seed is None else args.random_seed
    config = core_config(args, loaded, seed)
    text_for = None if tokenizer is None else (lambda request: TextStream(tokenizer, request.input_ids, request.params))
    vocabulary = None if tokenizer is None else Vocabulary(tokenizer.hf, config.vocab_size, config.eos_ids)
    jump = None if tokenizer is None or vocabulary is None else JumpForward(tokenizer, vocabulary)
    core = EngineCore(
        config, runner, log=EventLog(args.event_log_size), clock=clock, text_for=text_for,
        jump=jump, disable_jump_forward=args.disable_jump_forward,
    )  # fmt: skip
    info = describe(args, loaded, config, seed)
    # Last: from here on the thread steps, and only `shutdown` ends it.
    grammars = None if vocabulary is None else GrammarCompiler(vocabulary, options(args))
    prepare, at_end = preparer(args, grammars, config, jump), (lambda: None) if grammars is None else grammars.close
    client = LocalClient(core, prepare, questions(core, runner), thread, args.decode_log_interval, at_end)
    return Opened(client, tokenizer, info)


@dataclass(frozen=True)
class Loaded:
    """What computes, and what it computes with; no engine around it yet."""

    runner: TorchRunner
    tokenizer: Tokenizer | None
    folder: Path
    dtype: torch.dtype


def load_runner(args: ServerArgs, progress: Progress | None = None) -> Loaded:
    """The model in memory with its K/V store, and the tokenizer. Raises a `WorkbenchError` for what a user can mend."""
    if args.num_threads is not None:
        torch.set_num_threads(args.num_threads)
    device = pick_device(args.device)
    dtype = pick_dtype(args.dtype, device)
    folder = find_model(args, progress).path
    on_cpu = device.type == "cpu"
    if on_cpu:
        kernels.begin()
    if progress is not None:
        progress(f"{READING} and {COMPILING}" if kernels.is_compiling else READING, 0, 0)
    found: list[Any] = []
    finder = threading.Thread(target=lambda: found.append(_attempt(find_tokenizer, args)), name="workbench-tokenizer")
    finder.start()  # importing transformers takes as long as reading the weights
    try:
        override, dummy = model_override(args), args.load_format == "dummy"
        model = load_model(folder, dtype=dtype, device=device, dummy=dummy, override=override, seed=args.random_seed or 0)
    finally:
        finder.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    if on_cpu and progress is not None and kernels.is_compiling and mode() == "wait":
        progress(COMPILING, 0, 0)
    if on_cpu:
        kernels.settle()
    kv = make_kv(args, model, device, dtype)
    sampler = Sampler(model.vocab_size, detect_nan=args.enable_nan_detection)
    attention = create_backend(backend_name(args.attention_backend), kv)
    return Loaded(TorchRunner(model, kv, attention, sampler), found[0], folder, dtype)


def _attempt(make: Callable[..., Any], *args: Any) -> Any:
    try:
        return make(*args)
    except BaseException as error:
        return error


def pick_device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InvalidRequest("device", wanted, "cpu: torch sees no CUDA device here", hint='use device="cpu" or "auto"')
    return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu")


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    if wanted != "auto":
        return DTYPES[wanted]
    return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware (AVX-512 BF16, AMX, ARM BF16, or a GPU that says so)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.backends.cpu.get_cpu_capability()
    flags = Path("/proc/cpuinfo")
    names = flags.read_text().lower() if flags.exists() else ""
    return ("AVX512" in features and "avx512_bf16" in names) or "amx_bf16" in names or " bf16" in names


def make_kv(args: ServerArgs, model: CausalLM, device: torch.device, dtype: torch.dtype) -> KVStore:
    """The K/V store: as large as `max_total_tokens`, or as the share of memory allows."""
    kv_dtype = dtype if args.kv_cache_dtype == "auto" else DTYPES[args.kv_cache_dtype]
    specs = model.attention_specs()
    per_token = bytes_per_token(specs, kv_dtype)
    if kv_dtype != dtype:
        raise NotSupported(
            f"kv_cache_dtype {args.kv_cache_dtype} beside dtype {dtype} is not available yet", hint="leave it at auto"
        )
    if args.max_total_tokens is not None:
        num_slots = args.max_total_tokens
    elif device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        num_slots = int(free - (1 - (args.mem_fraction_static or CUDA_STATIC_SHARE)) * total) // per_token
    else:
        num_slots = int(psutil.virtual_memory().available * (args.mem_fraction_static or CPU_POOL_SHARE)) // per_token
    num_slots -= num_slots % args.page_size
    if num_slots < args.page_size:
        raise InvalidRequest("max_total_tokens", num_slots, f"room for at least one page of {args.page_size} tokens",
                             hint="free memory, or raise mem_fraction_static")  # fmt: skip
    try:
        return create_store(specs, num_slots, kv_dtype, device)
    except (RuntimeError, TypeError, OverflowError) as error:  # torch: out of memory, or a size that it cannot count
        raise InvalidRequest("max_total_tokens", num_slots, f"few enough for the memory, at {per_token:,} bytes each",
                             hint="ask for less, or leave it out: memory then decides") from error  # fmt: skip


def core_config(args: ServerArgs, loaded: Loaded, seed: int) -> CoreConfig:
    model, kv, tokenizer = loaded.runner.model, loaded.runner.kv, loaded.tokenizer
    on_cpu = kv.device.type == "cpu"
    eos_ids = tokenizer.eos_token_ids if tokenizer is not None else _config_eos(loaded.folder)
    settled = {
        "max_running_requests": args.max_running_requests or (CPU_MAX_RUNNING if on_cpu else CUDA_MAX_RUNNING),
        "chunked_prefill_size": args.chunked_prefill_size or (CPU_CHUNK if on_cpu else CUDA_CHUNK),
    }
    return CoreConfig(
        **args.part(CacheArgs).to_dict() | args.part(ScheduleArgs).to_dict() | settled,
        num_pages=kv.num_slots // args.page_size,
        context_length=args.context_length or model.max_positions,
        vocab_size=model.vocab_size,
        eos_ids=frozenset(token for token in eos_ids if token < model.vocab_size),
        random_seed=seed,
        check=os.environ.get("WORKBENCH_CHECK") == "1",
    )


def _config_eos(folder: Path) -> frozenset[int]:
    ids = read_config(folder).get("eos_token_id")
    return frozenset([ids] if isinstance(ids, int) else ids or ())


def options(args: ServerArgs) -> Options:
    """How constraints are compiled."""
    limits = Limits(args.grammar_compile_workers, args.grammar_compile_timeout_s, args.grammar_compile_memory_mb)
    return Options(args.grammar_backend, limits, args.constrained_json_whitespace_pattern, not args.disable_outlines_disk_cache)


def preparer(
    args: ServerArgs, grammars: GrammarCompiler | None, config: CoreConfig, jump: JumpForward | None = None
) -> Callable[[Request], tuple[Any, Any]]:
    """What is compiled or imported for a request before it is queued, on the caller's thread; slow constraints are begun."""

    def prepare(request: Request) -> tuple[Any, Any]:
        params, matcher, processor = request.params, None, None
        constraint = params.constraint
        if grammars is None and (constraint is not None or params.stop):
            raise NotSupported("stop strings and constraints need the tokenizer", hint="load without skip_tokenizer_init")
        if request.custom_logit_processor is not None:
            processor = load_processor(request.custom_logit_processor, args.enable_custom_logit_processor)
        if constraint is not None and grammars is not None:
            ends = frozenset(params.stop_token_ids) | (frozenset() if params.ignore_eos else config.eos_ids)
            coming = grammars.start(constraint, ends)
            if jump is not None:
                jump.prepare()
            matcher = coming.result() if coming.done() else coming
        return matcher, processor

    return prepare


def describe(args: ServerArgs, loaded: Loaded, config: CoreConfig, seed: int) -> dict[str, Any]:
    """What "auto" became; the static part of `get_server_info`."""
    model, kv = loaded.runner.model, loaded.runner.kv
    return {
        "device": kv.device.type,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "kv_cache_dtype": str(kv.dtype).removeprefix("torch."),
        "architecture": type(model).__name__,
        "attention_backend": backend_name(args.attention_backend),
        "num_threads": torch.get_num_threads(),
        "context_length": config.context_length,
        "vocab_size": config.vocab_size,
        "max_total_num_tokens": kv.num_slots,
        "max_running_requests": config.max_running_requests,
        "chunked_prefill_size": config.chunked_prefill_size,
        "random_seed": seed,
        "weights_bytes": model.num_bytes,
        "kv_bytes_per_token": kv.bytes_per_token,
    }


def questions(core: EngineCore, runner: TorchRunner) -> dict[str, Callable[..., Any]]:
    """What a client may ask between two steps."""

    def load() -> dict[str, Any]:
        page = core.config.page_size
        cache = core.cache
        return {
            "num_running": len(core.scheduler.running), "num_compiling": len(core.scheduler.compiling),
            "num_waiting": len(core.scheduler.waiting) + len(core.scheduler.compiling),
            "new_token_ratio": core.scheduler.new_token_ratio, "num_retractions": core.scheduler.num_retractions,
            "tokens_free": cache.num_free_pages * page, "tokens_tree": cache.num_tree_pages * page,
            "tokens_running": cache.num_owned_pages * page,
            "kernels": kernels.status() if runner.device.type == "cpu" else "torch",
            "kv_touched_tokens": runner.kv.num_touched, "process_rss_bytes": psutil.Process().memory_info().rss,
        }  # fmt: skip

    def lookup(token_ids: list[int], namespace: str = "") -> dict[str, Any]:
        found = core.cache.explain(tuple(token_ids), namespace)
        return {name: getattr(found, name) for name in found.__slots__}

    def token_detail(on: bool) -> None:
        core.scheduler.detail = on and core.log.on  # without a log nobody would hear of it

    return {
        "flush_cache": core.flush_cache, "load": load, "lookup": lookup, "now": core.clock, "snapshot": lambda: snapshot(core),
        "token_detail": token_detail,
    }  # fmt: skip
