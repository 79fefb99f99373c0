"""`make demo`: run a notebook in a fresh kernel and print what each cell produced, as text."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
GENERATES = ("%%wb_gen", "%%wb_chat")
SILENCE_S = 3.0
USAGE = "usage: python -m workbench.bench.demo NOTEBOOK"


def cell_text(outputs: Iterable[Mapping[str, Any]]) -> str:
    """Returns a cell's outputs as plain text: streams, text/plain and errors, without colours."""
    parts = []
    for output in outputs:
        match output["output_type"]:
            case "stream":
                parts.append(output["text"])
            case "error":
                parts.append("\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}")
            case _:
                parts.append(output["data"].get("text/plain", ""))
    return "\n".join(text for part in parts if (text := _ANSI.sub("", part).rstrip()))


class Watch:
    """Breaks the silence of work that takes long with the newest that the kernel said, and notes when the first token came."""

    def __init__(self) -> None:
        self.first_token_s: float | None = None
        """After the start of `make`, where that tells, else after this one's."""
        self._began = float(os.environ.get("WORKBENCH_BEGAN") or time.time())
        self._source = ""
        self._newest = ""
        self._done = threading.Event()

    def starts(self, source: str) -> None:
        """Takes a cell, or other work in its place."""
        self.ends()
        self._source, self._newest, self._done = source, source.partition("\n")[0], threading.Event()
        threading.Thread(target=self._beat, args=(self._done, time.monotonic()), daemon=True).start()

    def ends(self) -> None:
        self._done.set()

    def hears(self, message: Mapping[str, Any]) -> None:
        """Takes a message of the kernel. The first output of a cell that generates is its first token."""
        content = message["content"]
        text = content.get("text") or content.get("data", {}).get("text/plain")
        if text is None:
            return
        self._newest = (_ANSI.sub("", text).strip().splitlines() or [""])[-1]
        if self.first_token_s is None and self._source.startswith(GENERATES):
            self.first_token_s = time.time() - self._began

    def _beat(self, done: threading.Event, began: float) -> None:
        while not done.wait(SILENCE_S):
            print(f"{time.monotonic() - began:6.0f} s  {self._newest[:100]}", file=sys.stderr, flush=True)


def run(path: Path, *, timeout_s: int = 600) -> int:
    """Executes `path` and prints it cell by cell while it runs; returns the exit status."""
    watch = Watch()
    watch.starts(f"opening {path}")
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    class Client(NotebookClient):
        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            watch.hears(msg)
            return super().process_message(msg, cell, cell_index)

    def show(cell: Any, cell_index: int) -> None:
        watch.ends()
        if cell.cell_type == "markdown":
            print(f"\n{cell.source}\n", flush=True)

    def show_code(cell: Any, cell_index: int) -> None:
        print("\n".join(f">>> {line}" for line in cell.source.splitlines()), flush=True)
        watch.starts(cell.source)

    def show_outputs(cell: Any, cell_index: int, execute_reply: Any) -> None:
        watch.ends()
        print(cell_text(cell.outputs), end="\n\n", flush=True)

    book = nbformat.read(path, as_version=4)
    client = Client(
        book,
        timeout=timeout_s,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=show,
        on_cell_execute=show_code,
        on_cell_executed=show_outputs,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        print(f"the cell above failed: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    finally:
        watch.ends()
    if watch.first_token_s is not None:
        print(f"The first token came {watch.first_token_s:.0f} s after the start.")
    return 0


def main(argv: list[str] | None = None) -> int:
    args = sys.argv[1:] if argv is None else argv
    if len(args) != 1 or not Path(args[0]).is_file():
        print(USAGE, file=sys.stderr)
        return 2
    return run(Path(args[0]))


if __name__ == "__main__":
    sys.exit(main())
