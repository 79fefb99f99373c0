"""An engine in a child process: `open_process` in the parent, `python -m workbench.process.main` in the child."""

from __future__ import annotations

import sys

from workbench.config import ServerArgs
from workbench.hub.progress import IMPORTING, Progress
from workbench.kernels.openmp import share_cores
from workbench.opened import Opened, find_tokenizer
from workbench.process.client import ProcessClient, serve


def open_process(args: ServerArgs, progress: Progress | None = None) -> Opened:
    """Like `workbench.launch.open_engine`, with the model in a child. The parent needs the tokenizer and no torch."""
    client = ProcessClient(args, progress)
    try:
        tokenizer = find_tokenizer(args)
    except BaseException:
        client.close()
        raise
    return Opened(client, tokenizer, client.info)


def _open_here(args: ServerArgs, progress: Progress) -> Opened:
    progress(IMPORTING, 0, 0)
    share_cores()
    from workbench.launch import open_engine  # torch comes in here, in the child alone

    return open_engine(args, progress)


if __name__ == "__main__":
    serve(_open_here, *sys.argv[1:])
