"""The memory that decoding reads is summed as a plain loop over layers sums it, and shown only where it is known."""

from __future__ import annotations

import pytest

from workbench.events import StepExecuted, StepMember
from workbench.views.reads import LAST, DecodeReads

INFO = {"decode_weights_bytes": 1000, "kv_bytes_per_token": 30, "kv_window": 4, "kv_window_bytes_per_token": 20}
LAYERS = ((10, None), (10, 4), (10, 4))
"""Bytes of a token's K/V in each layer, and its window."""


def step(*members: StepMember, seconds: float = 0.5) -> StepExecuted:
    return StepExecuted(
        time=0.0, step=1, members=members, plan_s=0.25 * seconds, execute_s=0.5 * seconds, commit_s=0.25 * seconds,
        budget_left=0, num_waiting=0, pages_free=0, pages_tree=0, pages_owned=0,
    )  # fmt: skip


def read(*contexts: int) -> int:
    total = 1000
    for context in contexts:
        for per_token, window in LAYERS:
            total += per_token * (context if window is None else min(context, window))
    return total


def decode(context: int) -> StepMember:
    return StepMember("r", context - 1, 1, "decode")


@pytest.mark.parametrize("context", [1, 4, 5, 100])
def test_one_stream_reads_the_weights_and_its_context(context: int):
    reads = DecodeReads(INFO)
    reads.add(step(decode(context), seconds=0.5))
    assert reads.bytes_per_token == read(context)
    assert reads.bytes_per_s == read(context) / 0.5


def test_streams_share_the_weights():
    reads = DecodeReads(INFO)
    reads.add(step(decode(3), decode(50)))
    assert reads.bytes_per_token == read(3, 50) / 2


def test_the_figures_are_means_of_the_last_steps_that_only_decoded():
    reads = DecodeReads(INFO)
    for context in range(1, 2 * LAST + 1):
        reads.add(step(decode(context)))
        reads.add(step(decode(9), StepMember("p", 0, 64, "prefill"), seconds=9.0))
        reads.add(step(seconds=9.0))
    last = [read(context) for context in range(LAST + 1, 2 * LAST + 1)]
    assert reads.bytes_per_token == sum(last) / LAST
    assert reads.bytes_per_s == sum(last) / (0.5 * LAST)


def test_only_what_is_known_is_said():
    reads = DecodeReads(INFO)
    assert reads.words(None) == reads.words(2048.0) == "1000 B", "one stream without a context; no step gives a speed"
    reads.add(step(decode(1), seconds=1.0))
    assert reads.words(None) == "1.0 KiB"
    assert reads.words(2060.0) == "1.0 KiB, 50% of 2.0 KiB/s"
    for info in ({}, {"decode_weights_bytes": 0, "kv_bytes_per_token": 30}):
        unknown = DecodeReads(info)
        unknown.add(step(decode(1)))
        assert unknown.words(2060.0) == ""
