"""`Profiler`: records what torch does on the engine's thread, as a trace for Perfetto or chrome://tracing."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InvalidRequest

if TYPE_CHECKING:  # a core without a model needs no torch
    from torch.profiler import profile


class Profiler:
    """Runs on the engine's thread: torch records the thread that started it."""

    def __init__(self) -> None:
        self._running: profile | None = None
        self._folder = Path()
        self._numbers = itertools.count(1)

    def start(self, folder: str) -> None:
        """Starts to record; the trace will be in `folder`. Raises InvalidRequest if it records already or cannot write there."""
        if self._running is not None:
            raise InvalidRequest.because("profile", "a profile is being recorded", hint="stop it first (stop_profile)")
        self._folder = Path(folder).expanduser()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequest("folder", folder, f"a folder to write to ({error.strerror})") from None
        from torch.profiler import profile, supported_activities

        running = profile(activities=supported_activities())
        running.start()
        self._running = running

    def stop(self) -> str:
        """Stops, and returns the file of the trace. Raises InvalidRequest if nothing is recorded or it cannot be written."""
        running, self._running = self._running, None
        if running is None:
            raise InvalidRequest.because("profile", "no profile is being recorded", hint="start one first (start_profile)")
        running.stop()
        path = self._folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(self._numbers)}.trace.json.gz"
        try:
            running.export_chrome_trace(str(path))
        except (OSError, RuntimeError) as error:
            raise InvalidRequest("folder", str(self._folder), f"a folder to write to ({error})") from None
        return str(path)
