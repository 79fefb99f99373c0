"""The start of an engine in a process that may not have imported torch yet. Imports it."""

from __future__ import annotations

import importlib
import sys
import threading
from concurrent.futures import Future
from functools import partial

from workbench.client.opened import Opened
from workbench.client.waiters import answer
from workbench.config import ServerArgs
from workbench.hub.from_args import find_tokenizer, is_gguf_here
from workbench.hub.progress import IMPORTING, Progress
from workbench.kernels.environment import prepare_libraries
from workbench.kernels.quick_imports import quick_imports
from workbench.kernels.torch_library import load_ahead
from workbench.text.tokenizer import Tokenizer

Found = Future[Tokenizer | None]


def start_engine(args: ServerArgs, progress: Progress | None = None) -> Opened:
    """Opens an engine. Parameters, result and errors are those of `launch.engine.open_engine`."""
    if progress is not None:
        progress(IMPORTING, 0, 0)
    prepare_libraries()
    with quick_imports():
        tokenizer = None if "torch" in sys.modules else _ahead(args)
        from workbench.launch.engine import open_engine

    return open_engine(args, progress, tokenizer)


def _ahead(args: ServerArgs) -> Found | None:
    """Reads the tokenizer on a thread if it is in a GGUF file that is here: while torch's library loads, which needs no Python,
    and then beside the import of torch, which reads files."""
    if not is_gguf_here(args):
        return None
    importlib.import_module("workbench.text.gguf_tokenizer")  # its library has to come first
    library, found = load_ahead(), Found()
    threading.Thread(target=answer, args=(found, partial(find_tokenizer, args)), name="workbench-tokenizer").start()
    importlib.import_module("workbench.engine.local_client")  # and with it all of the engine that needs no torch
    if library is not None:
        library.join()
    return found
