"""Facts that the magics read, without a kernel."""

from __future__ import annotations

import os
from types import SimpleNamespace

import psutil

from workbench.magics.facts import WORKER, processes


class Ended:
    """A worker that ends between the list of processes and the question about it."""

    pid = 1

    def __init__(self, uids):
        self.info = {"cmdline": ["python", "-m", WORKER], "uids": uids}

    def oneshot(self):
        raise psutil.NoSuchProcess(self.pid)


def test_a_worker_that_ends_while_it_is_listed_and_one_of_an_unknown_user_are_left_out(monkeypatch):
    mine = SimpleNamespace(real=getattr(os, "getuid", lambda: 0)())
    monkeypatch.setattr(psutil, "process_iter", lambda names: [Ended(mine), Ended(None)])
    assert "this kernel" in repr(processes({}))
    assert "worker" not in repr(processes({}))
