"""`RequestLog`: one line of the log for each request at its end, with its input and its output (`log_requests`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from workbench.types import Request, TokenOut

logger = logging.getLogger("workbench")


class RequestLog:
    """The requests of one call. Each has its line when its last output is added, or at `close` if it was cut off."""

    def __init__(self, requests: Sequence[Request], decode: Callable[[tuple[int, ...]], str] | None) -> None:
        """Writes token ids if `decode`, which turns a prompt into text, is None."""
        self._open = dict(enumerate(requests))
        self._decode = decode
        self._texts = [""] * len(requests)
        self._ids: list[list[int]] = [[] for _ in requests]

    def add(self, i: int, out: TokenOut) -> None:
        """Adds an output of request `i`."""
        self._texts[i] += out.text
        self._ids[i] += out.token_ids
        if out.finish is not None:
            self._write(i, out.finish.type)

    def close(self) -> None:
        """Writes the lines of requests whose last output was not read: their reader left, or the engine ended."""
        for i in [*self._open]:
            self._write(i, "cut off")

    def _write(self, i: int, end: str) -> None:
        if (request := self._open.pop(i, None)) is None:
            return
        prompt, output = request.input_ids, self._ids[i]
        shown: tuple[object, object] = (prompt, output) if self._decode is None else (self._decode(prompt), self._texts[i])
        counts = (len(prompt), len(output))
        logger.warning(
            "request %s: %d tokens in, %d out, %s, in=%r, out=%r, %s", request.rid, *counts, end, *shown, request.params
        )
