"""`make demo`: run a notebook in a fresh kernel and print what each cell produced, as text."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
USAGE = "usage: python -m workbench.demo NOTEBOOK"


def cell_text(outputs: Iterable[Mapping[str, Any]]) -> str:
    """What a reader of plain text sees of a cell's outputs: streams, text/plain and errors, without colours."""
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


def run(path: Path, *, timeout_s: int = 600) -> int:
    """Execute `path` and print it cell by cell while it runs; returns the exit status."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    def show(cell: Any, cell_index: int) -> None:
        if cell.cell_type == "markdown":
            print(f"\n{cell.source}\n", flush=True)

    def show_code(cell: Any, cell_index: int, execute_reply: Any) -> None:
        print("\n".join(f">>> {line}" for line in cell.source.splitlines()))
        print(cell_text(cell.outputs), end="\n\n", flush=True)

    book = nbformat.read(path, as_version=4)
    client = NotebookClient(
        book,
        timeout=timeout_s,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=show,
        on_cell_executed=show_code,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        print(f"the cell above failed: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    return 0


def main(argv: list[str] | None = None) -> int:
    args = sys.argv[1:] if argv is None else argv
    if len(args) != 1 or not Path(args[0]).is_file():
        print(USAGE, file=sys.stderr)
        return 2
    return run(Path(args[0]))


if __name__ == "__main__":
    sys.exit(main())
