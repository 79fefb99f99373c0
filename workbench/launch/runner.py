"""From `ServerArgs` to a model in memory that computes steps, with its tokenizer; no engine around them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from workbench.attention.registry import backend_name, create_backend
from workbench.client.waiters import answer
from workbench.config import ServerArgs
from workbench.engine.runner import TorchRunner
from workbench.engine.sampler import Sampler
from workbench.hub.from_args import find_model, find_tokenizer
from workbench.hub.progress import READING, Progress
from workbench.kernels.compiled import COMPILING, kernels, mode
from workbench.launch.kv import make_kv
from workbench.launch.place import Hardware
from workbench.model.base import CausalLM
from workbench.model.check import checker, end_ids, override_of
from workbench.model.load import load_model
from workbench.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Loaded:
    """The parts of an engine that compute, before there is an engine around them."""

    runner: TorchRunner
    tokenizer: Tokenizer | None
    eos_ids: frozenset[int]
    """Returns the ids that end a generation: the tokenizer's, or without one those of the model's configuration."""
    dtype: torch.dtype


def load_runner(args: ServerArgs, progress: Progress | None = None) -> Loaded:
    """Loads the model with its K/V store, and the tokenizer. Raises a `WorkbenchError` for what a user can mend."""
    if args.num_threads is not None:
        torch.set_num_threads(args.num_threads)
    place = Hardware.of(args)
    path = find_model(args, checker(args), progress).path
    with _compiled_kernels(place.device, progress):
        model, tokenizer = _load_both(args, path, place)
    kv = make_kv(args, model.attention_specs(), place)
    sampler = Sampler(model.vocab_size, detect_nan=args.enable_nan_detection)
    attention = create_backend(backend_name(args.attention_backend), kv)
    eos_ids = end_ids(path) if tokenizer is None else tokenizer.eos_token_ids
    return Loaded(TorchRunner(model, kv, attention, sampler), tokenizer, eos_ids, place.dtype)


@contextmanager
def _compiled_kernels(device: torch.device, progress: Progress | None) -> Iterator[None]:
    """Compiles the kernels of a CPU while the block runs; at its end waits for them, if they are to be waited for."""
    on_cpu = device.type == "cpu"
    if on_cpu:
        kernels.begin()
    if progress is not None:
        progress(f"{READING} and {COMPILING}" if on_cpu and kernels.is_compiling else READING, 0, 0)
    yield
    if on_cpu and progress is not None and kernels.is_compiling and mode() == "wait":
        progress(COMPILING, 0, 0)
    if on_cpu:
        kernels.settle()


def _load_both(args: ServerArgs, path: Path, place: Hardware) -> tuple[CausalLM, Tokenizer | None]:
    """Reads weights and tokenizer at the same time: importing transformers takes as long as reading a small model."""
    tokenizer: Future[Tokenizer | None] = Future()
    finder = threading.Thread(target=answer, args=(tokenizer, partial(find_tokenizer, args)), name="workbench-tokenizer")
    finder.start()
    try:
        model = load_model(
            path,
            dtype=place.dtype,
            device=place.device,
            dummy=args.load_format == "dummy",
            override=override_of(args),
            seed=args.random_seed or 0,
        )
    finally:
        finder.join()
    return model, tokenizer.result()
