"""`python -m workbench.grammar.compile_child`: compiles constraints for its parent until its standard input closes.

It imports neither torch nor transformers, so it starts in half a second and weighs some 60 MB. What goes wrong while
compiling is an answer; what kills it (a crash of the compiler, the parent's limits) is seen by the parent.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import Any, BinaryIO

from workbench.grammar.messages import OUT_OF_MEMORY, READY, Reply, Setup, receive, send
from workbench.grammar.normalise import plain
from workbench.types import GrammarSpec
from workbench.wire_error import Failure


def answer(compiler: Any, spec: GrammarSpec) -> Reply:
    began = time.perf_counter()
    try:
        read = plain(spec)
        data = compiler(read, spec)
        return Reply(data, read.unenforced, time.perf_counter() - began)
    except MemoryError:
        return OUT_OF_MEMORY
    except Exception as error:
        return Reply(failure=Failure.of(error))


def main() -> None:
    down, up = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a compiler prints must not get between the messages
    setup = receive(down, Setup)
    compiler = _open(setup)
    _limit_memory(setup.memory_bytes)
    send(up, READY)
    specs: queue.SimpleQueue[GrammarSpec] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(down, specs), daemon=True).start()
    while True:
        send(up, answer(compiler, specs.get()))


def _read(down: BinaryIO, specs: queue.SimpleQueue[GrammarSpec]) -> None:
    """Reads on a thread of its own, so that the process ends with its parent also in the middle of a compilation."""
    try:
        while True:
            specs.put(receive(down, GrammarSpec))
    finally:
        os._exit(0)


def _open(setup: Setup) -> Any:
    if setup.backend == "outlines":
        from workbench.grammar.outlines_compile import compiler
    else:
        from workbench.grammar.xgrammar_compile import bare_xgrammar

        bare_xgrammar()
        from workbench.grammar.xgrammar_compile import compiler
    return compiler(setup.about)


def _limit_memory(num_bytes: int) -> None:
    """Limits allocations: one far beyond the limit fails at once, and the parent watches the memory in use."""
    if sys.platform != "linux":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = 2 * num_bytes if hard == resource.RLIM_INFINITY else min(2 * num_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    main()
