"""`python -m workbench.grammar.compile_child`: compiles constraints for its parent until its standard input closes.

It imports neither torch nor transformers, so it starts in half a second and takes about 60 MB. An error while compiling is sent
as an answer. The parent notices when the process dies (a crash of the compiler, the parent's limits).
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import Any, BinaryIO

from workbench.grammar.messages import OUT_OF_MEMORY, READY, Answer, Setup, receive, send
from workbench.grammar.normalise import plain
from workbench.types import GrammarSpec
from workbench.wire_error import Failure


def answer(compiler: Any, spec: GrammarSpec) -> Answer:
    began = time.perf_counter()
    try:
        read = plain(spec)
        data = compiler(read, spec)
        return Answer(data, read.unenforced, time.perf_counter() - began)
    except MemoryError:
        return OUT_OF_MEMORY
    except Exception as error:
        return Answer(failure=Failure.of(error))


def main() -> None:
    down, up = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keeps what a compiler prints out of the messages
    setup = receive(down, Setup)
    compiler = _open(setup)
    _limit_memory(setup.memory_bytes)
    send(up, READY)
    specs: queue.SimpleQueue[GrammarSpec] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(down, specs), daemon=True).start()
    while True:
        send(up, answer(compiler, specs.get()))


def _read(down: BinaryIO, specs: queue.SimpleQueue[GrammarSpec]) -> None:
    """Reads jobs in a thread of its own, so that the process also ends with its parent in the middle of a compilation."""
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
    """Limits the address space: an allocation far beyond the limit fails at once. The parent measures the memory in use."""
    if sys.platform != "linux":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = 2 * num_bytes if hard == resource.RLIM_INFINITY else min(2 * num_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    main()
