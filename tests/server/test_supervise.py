"""Child processes end together: with their parent's word, with all of their group, and in bounded time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from workbench.process.supervise import ChildProcess

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX")
FAMILY = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.DEVNULL)
open(sys.argv[1], "w").write(f"{child.pid}\\n")
"""
"""Code that starts a process which watches nothing, and writes down its id."""


def wait_until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.005)


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def family(tmp_path, then):
    """Returns a child that has a child and goes on with the code `then`, and the id of the second."""
    told = tmp_path / "pid"
    child = ChildProcess([sys.executable, "-c", FAMILY + then, str(told)])
    wait_until(lambda: told.exists() and told.read_text().endswith("\n"))
    return child, int(told.read_text())


def test_a_child_that_is_killed_leaves_none_of_its_group(tmp_path):
    child, grandchild = family(tmp_path, "import time; time.sleep(600)")
    assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: child.poll() is not None)
    assert child.poll() == -signal.SIGKILL
    wait_until(lambda: is_gone(grandchild))
    child.end()


def test_a_child_that_exits_leaves_none_of_its_group(tmp_path):
    child, grandchild = family(tmp_path, "raise SystemExit(3)")
    wait_until(lambda: child.poll() is not None)
    assert child.poll() == 3
    wait_until(lambda: is_gone(grandchild))
    child.end()


def test_a_child_that_does_not_mind_its_input_is_killed_with_its_group(tmp_path):
    child, grandchild = family(tmp_path, "import time; time.sleep(600)")
    child.end(patience_s=0.05)
    assert not psutil.pid_exists(child.pid)
    assert child.poll() == -signal.SIGKILL
    wait_until(lambda: is_gone(grandchild))


def test_a_child_that_minds_its_input_ends_by_itself():
    child = ChildProcess([sys.executable, "-c", "import sys; sys.stdin.read(); raise SystemExit(5)"])
    child.end()
    child.end()
    assert child.poll() == 5
    assert not psutil.pid_exists(child.pid)


def test_end_with_parent_ends_a_process_whose_main_thread_is_busy():
    code = "from workbench.process.supervise import end_with_parent as e; e()\nprint(1, flush=True)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline()
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()


def test_many_threads_learn_the_same_exit_code(tmp_path):
    child = ChildProcess([sys.executable, "-c", "import sys; sys.stdin.read(); raise SystemExit(7)"])
    codes = []

    def watch():
        while (code := child.poll()) is None:
            time.sleep(0.001)
        codes.append(code)

    threads = [threading.Thread(target=watch) for _ in range(8)]
    for thread in threads:
        thread.start()
    child.end()
    for thread in threads:
        thread.join()
    assert codes == [7] * 8
