"""Opens an engine: the model, the core around it, the grammar compiler, and the thread that steps."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import torch

from workbench.attention.kv import KVStore, bytes_per_token
from workbench.attention.registry import backend_name
from workbench.attention.spec import AttentionSpec
from workbench.client.answers import EngineInfo
from workbench.client.opened import Opened
from workbench.config import CacheArgs, ScheduleArgs, ServerArgs
from workbench.engine.bandwidth import memory_bandwidth
from workbench.engine.calls import CoreCalls, RunnerStatus
from workbench.engine.core import EngineCore
from workbench.engine.jump import JumpForward
from workbench.engine.limits import CoreConfig
from workbench.engine.local_client import Coming, LocalClient, Prepare
from workbench.engine.plan import LogitProcessor
from workbench.engine.runner import TorchRunner
from workbench.engine.worker import EngineThread
from workbench.errors import NotSupported
from workbench.events import EventLog
from workbench.grammar import GrammarCompiler, Limits, Options, Vocabulary
from workbench.hub.progress import Progress, Relay
from workbench.kernels.compiled import kernels
from workbench.kernels.cores import num_processors
from workbench.launch.place import name_of
from workbench.launch.runner import Loaded, load_runner
from workbench.launch.weights import Replacement, describe_weights
from workbench.logit_processor import load_processor
from workbench.text.detokenizer import TextStream
from workbench.text.tokenizer import Tokenizer
from workbench.types import Request

logger = logging.getLogger("workbench")
CPU_CHUNK, CUDA_CHUNK = 1024, 8192
CPU_MAX_RUNNING, CUDA_MAX_RUNNING = 64, 512


def open_engine(
    args: ServerArgs, progress: Progress | None = None, tokenizer: Future[Tokenizer | None] | None = None, *,
    clock: Callable[[], float] = time.monotonic,
) -> Opened:  # fmt: skip
    """Loads the model and starts the engine's thread. Raises a `WorkbenchError` for what a user can mend.

    `progress` is called on this thread; without it, bars are drawn for what is fetched. `tokenizer` is one that is being read.
    """
    logging.getLogger("workbench").setLevel(args.log_level.upper())
    thread, relay = EngineThread(), Relay()
    try:
        build = partial(_build, args, clock, thread, None if progress is None else relay, tokenizer, clock())
        opened: Opened = relay.wait(thread.start(build), progress)
    except BaseException:
        thread.join()
        raise
    if args.show_time_cost:
        logger.warning("loaded %s in %.2f s", args.model_path, opened.info.load_s)
    return opened


def _build(
    args: ServerArgs, clock: Callable[[], float], thread: EngineThread, progress: Progress | None,
    found: Future[Tokenizer | None] | None, started: float,
) -> Opened:  # fmt: skip
    """Runs on the engine's thread, as all that touches torch does."""
    loaded = load_runner(args, progress, found)
    runner, tokenizer = loaded.runner, loaded.tokenizer
    seed = secrets.randbits(31) if args.random_seed is None else args.random_seed
    config = core_config(args, loaded, seed)
    text_for = None if tokenizer is None else (lambda request: TextStream(tokenizer, request.input_ids, request.params))
    vocabulary = None if tokenizer is None or args.is_embedding else Vocabulary(tokenizer, config.vocab_size, config.eos_ids)
    jump = None if tokenizer is None or vocabulary is None else JumpForward(tokenizer, vocabulary)
    core = EngineCore(
        config, runner, log=EventLog(args.event_log_size), clock=clock, text_for=text_for,
        jump=jump, disable_jump_forward=args.disable_jump_forward,
    )  # fmt: skip
    grammars = None if vocabulary is None else GrammarCompiler(vocabulary, options(args))
    prepare, at_end = preparer(args, grammars, config, jump), (lambda: None) if grammars is None else grammars.close
    info = describe(args, loaded, config, seed, clock() - started)
    weights, replace = describe_weights(args, loaded), Replacement(args, loaded)
    bandwidth = partial(memory_bandwidth, runner.device)
    calls = CoreCalls(core, info, weights, partial(_status, runner), loaded.encoder, replace.replace, bandwidth, replace.overlay)
    # Last: from here on the thread steps, and only `shutdown` ends it.
    client = LocalClient(core, prepare, calls, thread, args.decode_log_interval, at_end, overlaps=info.overlap_schedule)
    return Opened(client, tokenizer, info)


def core_config(args: ServerArgs, loaded: Loaded, seed: int) -> CoreConfig:
    model, kv = loaded.runner.model, loaded.runner.kv
    on_cpu = kv.device.type == "cpu"
    settled = {
        "max_running_requests": args.max_running_requests or (CPU_MAX_RUNNING if on_cpu else CUDA_MAX_RUNNING),
        "chunked_prefill_size": args.chunked_prefill_size or (CPU_CHUNK if on_cpu else CUDA_CHUNK),
    }
    return CoreConfig(
        **args.part(CacheArgs).to_dict() | args.part(ScheduleArgs).to_dict() | settled,
        num_pages=kv.num_slots // args.page_size,
        context_length=args.context_length or loaded.max_tokens or model.max_positions,
        vocab_size=model.vocab_size,
        num_embeddings=model.num_embeddings,
        hidden_size=model.hidden_size,
        sees=model.sees,
        num_picture_rows=loaded.runner.features.most_bytes // row if (row := model.picture_row_bytes()) else 0,
        eos_ids=frozenset(token for token in loaded.eos_ids if token < model.vocab_size),
        random_seed=seed,
        check=os.environ.get("WORKBENCH_CHECK") == "1",
    )


def options(args: ServerArgs) -> Options:
    """Returns how constraints are compiled."""
    limits = Limits(args.grammar_compile_workers, args.grammar_compile_timeout_s, args.grammar_compile_memory_mb)
    return Options(args.grammar_backend, limits, args.constrained_json_whitespace_pattern, not args.disable_outlines_disk_cache)


def preparer(args: ServerArgs, grammars: GrammarCompiler | None, config: CoreConfig, jump: JumpForward | None = None) -> Prepare:
    """Returns the function that compiles or imports what a request needs, on the caller's thread, before it is queued."""

    def prepare(request: Request) -> tuple[Coming, LogitProcessor | None]:
        params, constraint = request.params, request.params.constraint
        matcher: Coming = None
        processor: LogitProcessor | None = None
        if args.is_embedding:
            raise NotSupported(
                "this engine makes embeddings (is_embedding), no text", hint="use encode, or load without is_embedding"
            )
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


def describe(args: ServerArgs, loaded: Loaded, config: CoreConfig, seed: int, load_s: float) -> EngineInfo:
    """Returns the static part of `get_server_info`: the values that "auto" was settled to."""
    model, kv = loaded.runner.model, loaded.runner.kv
    specs = model.attention_specs()
    return EngineInfo(
        device=kv.device.type,
        dtype=name_of(loaded.dtype),
        kv_cache_dtype=name_of(kv.dtype),
        architecture=model.architecture,
        attention_backend="encoder" if model.is_encoder else backend_name(args.attention_backend),
        num_threads=torch.get_num_threads(),
        overlap_schedule=overlaps(args, kv.device),
        context_length=config.context_length,
        vocab_size=config.vocab_size,
        max_total_num_tokens=kv.num_slots,
        max_running_requests=config.max_running_requests,
        chunked_prefill_size=config.chunked_prefill_size,
        random_seed=seed,
        weights_bytes=model.weights_bytes(),
        kv_bytes_per_token=kv.bytes_per_token,
        decode_weights_bytes=model.decode_bytes(),
        kv_window=max((spec.window or 0 for spec in specs), default=0),
        kv_window_bytes_per_token=_windowed_bytes(specs, kv),
        load_s=load_s,
        num_labels=model.num_labels,
        quantization=model.quantization,
    )


def overlaps(args: ServerArgs, device: torch.device) -> bool:
    """Returns whether steps overlap. On a CPU that takes a processor which the model leaves free: else it delays the model by
    more than it saves, since all of the model's threads wait for the one that shares its core."""
    has_room = device.type != "cpu" or num_processors() > torch.get_num_threads()
    return has_room and not args.disable_overlap_schedule


def _windowed_bytes(specs: Sequence[AttentionSpec], kv: KVStore) -> int:
    """Returns the part of a token's K/V that layers with a sliding window hold."""
    whole, windowed = (bytes_per_token(some, torch.float32) for some in (specs, [spec for spec in specs if spec.window]))
    return kv.bytes_per_token * windowed // whole if windowed else 0


def _status(runner: TorchRunner) -> RunnerStatus:
    return RunnerStatus(kernels.status() if runner.device.type == "cpu" else "torch", runner.kv.num_touched)
