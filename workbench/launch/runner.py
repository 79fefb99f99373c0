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

from workbench.attention.base import AttentionBackend
from workbench.attention.encoder import EncoderAttention
from workbench.attention.kv import KVStore
from workbench.attention.registry import backend_name, create_backend, create_store
from workbench.checkpoint.pooling import read_pooling
from workbench.client.waiters import answer
from workbench.config import ServerArgs
from workbench.engine.encode import Encoder
from workbench.engine.runner import TorchRunner
from workbench.engine.sampler import Sampler
from workbench.errors import InvalidRequest, ModelCorrupt, NotSupported
from workbench.hub.from_args import find_model, find_tokenizer
from workbench.hub.progress import READING, Progress
from workbench.kernels.compiled import COMPILING, kernels, mode
from workbench.kernels.cores import num_cores
from workbench.launch.kv import make_kv, room_for_pictures
from workbench.launch.kv_factors import read_factors
from workbench.launch.place import Hardware, weight_form
from workbench.model.base import Model
from workbench.model.check import checker, end_ids, override_of
from workbench.model.load import load_model
from workbench.model.seeing import Seeing
from workbench.pictures.processor import check_square
from workbench.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Loaded:
    """The parts of an engine that compute, before there is an engine around them."""

    runner: TorchRunner
    tokenizer: Tokenizer | None
    eos_ids: frozenset[int]
    """Returns the ids that end a generation: the tokenizer's, or without one those of the model's configuration."""
    dtype: torch.dtype
    encoder: Encoder | None = None
    """The part that makes vectors, in an engine of `is_embedding`."""
    max_tokens: int | None = None
    """Longest text that the files beside the model allow."""


def load_runner(args: ServerArgs, progress: Progress | None = None, found: Future[Tokenizer | None] | None = None) -> Loaded:
    """Loads the model with its K/V store, and the tokenizer, if it is not the one that will be `found`.

    Raises a `WorkbenchError` for what a user can mend.
    """
    torch.set_num_threads(args.num_threads or min(torch.get_num_threads(), num_cores()))
    place = Hardware.of(args)
    factors = None if args.quantization_param_path is None else read_factors(args.quantization_param_path)
    path = find_model(args, checker(args), progress).path
    with _compiled_kernels(place.device, progress):
        model, tokenizer = _load_both(args, path, place, found)
    _check_kind(args, model)
    if tokenizer is not None:
        check_vocabulary(tokenizer, model.vocab_size)
    if model.is_encoder:
        kv = create_store((), -(-model.max_positions // args.page_size) * args.page_size, place.dtype, place.device)
        return _with_encoder(model, kv, EncoderAttention(), tokenizer, path, place, args.page_size)
    kv = make_kv(args, model.attention_specs(), place, factors)
    attention = create_backend(backend_name(args.attention_backend), kv)
    if args.is_embedding:
        return _with_encoder(model, kv, attention, tokenizer, path, place, args.page_size)
    sampler = Sampler(model.vocab_size, detect_nan=args.enable_nan_detection)
    eos_ids = end_ids(path) if tokenizer is None else tokenizer.eos_token_ids
    runner = TorchRunner(model, kv, attention, sampler)
    if isinstance(model, Seeing):
        if model.square is not None:
            check_square(path, model.square)
        is_crossed = model.picture_row_bytes() > 0
        runner.features.most_bytes = room_for_pictures(args.picture_memory_mb, place.device, is_crossed=is_crossed)
    return Loaded(runner, tokenizer, eos_ids, place.dtype)


def _with_encoder(
    model: Model, kv: KVStore, attention: AttentionBackend, tokenizer: Tokenizer | None, path: Path, place: Hardware,
    page_size: int,
) -> Loaded:  # fmt: skip
    """Returns the parts of an engine that makes vectors and no text."""
    pooling = model.pooling if model.num_labels else read_pooling(path, model.pooling)
    runner = TorchRunner(model, kv, attention, Sampler(model.vocab_size))
    encoder = Encoder(model, kv, attention, pooling, page_size)
    return Loaded(runner, tokenizer, frozenset(), place.dtype, encoder, pooling.max_tokens)


def check_vocabulary(tokenizer: Tokenizer, vocab_size: int) -> None:
    """Raises ModelCorrupt for a tokenizer of another model: one whose own tokens have ids beyond the embedding.

    A wider embedding is padded. Added tokens may lie beyond it, such as one for pictures in a model that reads none.
    """
    highest = tokenizer.highest_id
    if highest >= vocab_size and highest not in tokenizer.backend.get_added_tokens_decoder():
        raise ModelCorrupt(
            f"the tokenizer has ids up to {highest:,}, the model's embedding has {vocab_size:,} rows",
            hint="is it another model's? give the right one with tokenizer_path=",
        )


def _check_kind(args: ServerArgs, model: Model) -> None:
    """Raises NotSupported for a model that makes no text where text is wanted, and for an encoder whose K/V shall have a type;
    InvalidRequest for a context beyond an encoder's positions."""
    if not model.makes_text and not args.is_embedding:
        message = f"{model.architecture} makes embeddings or scores, no text"
        raise NotSupported(message, hint="load it with is_embedding=True (--is-embedding)")
    if model.is_encoder and args.kv_cache_dtype != "auto":
        message = f"{model.architecture} keeps no K/V, so kv_cache_dtype {args.kv_cache_dtype} is not available"
        raise NotSupported(message, hint="leave it out")
    if model.is_encoder and (args.context_length or 0) > model.max_positions:
        raise InvalidRequest("context_length", args.context_length, f"at most {model.max_positions}, the positions of this model")


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


def _tokenizer(args: ServerArgs, found: Future[Tokenizer | None] | None) -> Tokenizer | None:
    tokenizer = find_tokenizer(args) if found is None else found.result()
    if tokenizer is not None:
        _ = tokenizer.highest_id  # looked up beside the weights
    return tokenizer


def _load_both(
    args: ServerArgs, path: Path, place: Hardware, found: Future[Tokenizer | None] | None
) -> tuple[Model, Tokenizer | None]:
    """Reads weights and tokenizer at the same time: importing transformers takes as long as reading a small model."""
    tokenizer: Future[Tokenizer | None] = Future()
    finder = threading.Thread(target=answer, args=(tokenizer, partial(_tokenizer, args, found)), name="workbench-tokenizer")
    finder.start()
    try:
        model = load_model(
            path,
            dtype=place.dtype,
            device=place.device,
            dummy=args.load_format == "dummy",
            pickled=args.load_format == "pt",
            override=override_of(args),
            seed=args.random_seed or 0,
            form=weight_form(args, place),
            num_positions=args.context_length,
        )
    finally:
        finder.join()
    return model, tokenizer.result()
