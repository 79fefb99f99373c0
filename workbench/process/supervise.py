"""Supervision of child processes: started in a process group of their own, watched, and ended together with this process.

A child ends when its standard input closes, which the operating system does when its parent ends in whatever way. So the
child calls `end_with_parent`, and its own children do alike. A child that ends, in whatever way, leaves none of its group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

PATIENCE_S = 10.0
TICK_S = 0.005


class ChildProcess:
    """A running child. Any thread may use it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=environment)
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Returns the exit code, None while the child runs. Changes: when it has ended, kills what is left of its group."""
        with self._lock:
            if self._process.returncode is None and _has_ended(self._process):
                _kill_group(self._process)  # before `wait` frees the id for another process
                self._process.wait()
            return self._process.returncode

    def end(self, patience_s: float = PATIENCE_S) -> None:
        """Closes the child's standard input, and kills its group if it does not exit in `patience_s`. Returns when it is gone."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        deadline = time.monotonic() + patience_s
        while self.poll() is None:
            if time.monotonic() > deadline:
                _kill_group(self._process)
            time.sleep(TICK_S)


def end_with_parent() -> None:
    """Lets this process exit as soon as its standard input closes."""
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()


def _exit_at_end_of_input() -> None:
    sys.stdin.read()
    os._exit(0)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Leaves the ended process unreaped where the system can, so that no other process gets its id."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # a handler of this process has waited for it
        return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kills a child that was not waited for, and all of its group."""
    if not hasattr(os, "killpg"):
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
