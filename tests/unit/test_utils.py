"""The two merging helpers give a stream's text once, without repetition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from workbench.errors import BackendFailed
from workbench.test import test_utils
from workbench.utils import (
    async_stream_and_merge,
    execute_shell_command,
    is_in_ci,
    launch_server_cmd,
    print_highlight,
    stream_and_merge,
    terminate_process,
    wait_for_server,
)

STREAMS = {
    "cumulative": (["The", "The cat", "The cat", "The cat sat"], "The cat sat"),
    "new pieces": (["The", " cat", " sat"], "The cat sat"),
    "overlapping pieces": (["The cat", "cat sat", " on"], "The cat sat on"),
    "nothing": ([], ""),
    "repeating text": (["ha", "haha", "hahaha"], "hahaha"),
}


class Scripted:
    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.asked: list[Any] = []

    def generate(self, prompt: str, sampling_params: Any, stream: bool) -> Iterator[dict[str, str]]:
        self.asked.append((prompt, sampling_params, stream))
        yield from ({"text": text} for text in self.texts)

    async def async_generate(self, prompt: str, sampling_params: Any, stream: bool) -> AsyncIterator[dict[str, str]]:
        async def chunks() -> AsyncIterator[dict[str, str]]:
            for chunk in self.generate(prompt, sampling_params, stream):
                yield chunk

        return chunks()


@pytest.mark.parametrize("name", STREAMS)
def test_the_text_of_a_stream_comes_once(name: str) -> None:
    chunks, text = STREAMS[name]
    llm = Scripted(chunks)
    assert stream_and_merge(llm, "prompt", {"temperature": 0}) == text
    assert llm.asked == [("prompt", {"temperature": 0}, True)]


@pytest.mark.parametrize("name", STREAMS)
def test_the_async_pieces_join_to_the_text(name: str) -> None:
    chunks, text = STREAMS[name]

    async def pieces() -> list[str]:
        return [piece async for piece in async_stream_and_merge(Scripted(chunks), "prompt")]

    got = asyncio.run(pieces())
    assert "".join(got) == text
    assert all(got)


@pytest.mark.process
def test_a_command_over_several_lines_runs_and_ends_twice(tmp_path):
    file = tmp_path / "ran"
    process = execute_shell_command(
        f"python -c 'import pathlib, time; pathlib.Path(\"{file}\").touch(); time.sleep(60)' \\\n  --x 1"
    )
    while not file.exists():
        assert process.poll() is None
    terminate_process(process)
    terminate_process(process, 30000)
    assert process.returncode == -15


@pytest.mark.process
def test_a_server_that_ends_before_it_is_ready_is_named_with_its_exit_code():
    process, port = launch_server_cmd("python -c 'import sys; sys.exit(3)'")
    with pytest.raises(BackendFailed, match="exit code 3"):
        wait_for_server(f"http://127.0.0.1:{port}", process=process)
    with pytest.raises(BackendFailed, match="not ready after 0"):
        wait_for_server(f"http://127.0.0.1:{port}", timeout=0)


def test_highlights_are_printed_outside_a_notebook_and_ci_is_known_by_its_variable(capsys, monkeypatch):
    print_highlight("<b>")
    assert "<b>" in capsys.readouterr().out
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("SGLANG_IS_IN_CI", "false")
    assert not is_in_ci()
    monkeypatch.setenv("SGLANG_IS_IN_CI", "true")
    assert is_in_ci()


def test_the_references_second_place_has_the_same_function():
    assert test_utils.is_in_ci is is_in_ci
