"""Answers are read alike wherever they were cut."""

from __future__ import annotations

import itertools
import random

import pytest

from workbench.bench.timed_post import lines
from workbench.errors import BackendFailed

BODY = [b"data: a\r\n\r\n", "data: ü\n\n".encode(), b"data: [DONE]\n\n"]
WANTED = [b"data: a", b"", "data: ü".encode(), b"", b"data: [DONE]", b""]


def chunked() -> bytes:
    chunks = b"".join(b"%x;x=1\r\n%s\r\n" % (len(part), part) for part in BODY)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def cut(raw: bytes, seed: int) -> list[tuple[float, bytes]]:
    at = sorted({0, len(raw), *random.Random(seed).choices(range(len(raw)), k=seed)})
    return [(float(end), raw[start:end]) for start, end in itertools.pairwise(at)]


@pytest.mark.parametrize("raw", [chunked(), b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(BODY)])
def test_lines_do_not_depend_on_where_the_answer_was_cut(raw):
    for seed in range(60):
        found = list(lines(cut(raw, seed)))
        assert [line for _, line in found] == WANTED
        for at, line in found:
            assert not line or raw.index(line) + len(line) <= at


def test_a_last_line_without_an_end_counts():
    assert list(lines([(1.0, b'HTTP/1.1 200 OK\r\n\r\n{"a"'), (2.0, b": 1}")])) == [(2.0, b'{"a": 1}')]


@pytest.mark.parametrize("raw, says", [(b"HTTP/1.1 503 Busy\r\n\r\nlater", "status 503: later"), (b"", "without an answer")])
def test_an_answer_that_is_none_is_an_error(raw, says):
    with pytest.raises(BackendFailed, match=says):
        list(lines([(1.0, raw)]))
