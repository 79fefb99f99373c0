"""An engine in a child process: `open_process` in the parent, `python -m workbench.child` in the child."""

from __future__ import annotations

import sys

from workbench.config import ServerArgs
from workbench.engine.process import ProcessClient, serve
from workbench.opened import Opened, find_tokenizer


def open_process(args: ServerArgs) -> Opened:
    """Like `workbench.launch.open_engine`, with the model in a child. The parent needs the tokenizer and no torch."""
    client = ProcessClient(args)
    try:
        tokenizer = find_tokenizer(args)
    except BaseException:
        client.close()
        raise
    return Opened(client, tokenizer, client.info)


if __name__ == "__main__":
    from workbench.launch import open_engine  # torch comes in here, in the child alone

    serve(open_engine, *sys.argv[1:])
