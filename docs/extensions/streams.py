"""Sphinx extension: what a cell prints piece by piece is one text on its page.

MyST-NB's own joining ends each piece with a line end.
"""

from __future__ import annotations

from typing import Any


def setup(app: Any) -> dict[str, Any]:
    """Has MyST-NB join streams with `joined`, where `nb_merge_streams` is set."""
    from myst_nb.core import render

    render.coalesce_streams = joined  # type: ignore[attr-defined]
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def joined(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns a cell's outputs, of which one has all that was printed to stdout, and the next all of stderr.

    Both are as a terminal shows them in the end.
    """
    texts: dict[str, str] = {"stdout": "", "stderr": ""}
    for output in outputs:
        if output["output_type"] == "stream":
            texts[output["name"]] += output["text"]
    first = next((i for i, output in enumerate(outputs) if output["output_type"] == "stream"), 0)
    streams = {output["name"]: output for output in outputs if output["output_type"] == "stream"}
    for name, output in streams.items():
        output["text"] = "\n".join(map(_overwritten, texts[name].rstrip().split("\n"))) + "\n"
    shown = [streams[name] for name in texts if name in streams and texts[name].strip()]
    others = [output for output in outputs if output["output_type"] != "stream"]
    return [*others[:first], *shown, *others[first:]]


def _overwritten(line: str) -> str:
    """Returns what a line shows in the end: a carriage return begins it again."""
    return line.rstrip("\r").rpartition("\r")[2]
