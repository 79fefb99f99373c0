"""A program: compiles one library, in a process group that ends with the process that started it.

    python compile.py LIBRARY NICENESS '[["c++", ...], ...]'

It tries the commands in turn until one works, and keeps the compiler's warnings, if any, beside the library. If several such
programs run for one library, one compiles and the others wait. Standard input is held open by the parent: at its end the group
ends, and its lock is released.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from filelock import FileLock


def main(library: Path, niceness: int, commands: list[list[str]]) -> int:
    threading.Thread(target=_end_with_input, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(niceness)
    with FileLock(f"{library}.lock"):
        return 0 if library.exists() else _build(library, commands)


def _build(library: Path, commands: list[list[str]]) -> int:
    part = library.with_suffix(".part")
    for command in commands:
        done = subprocess.run([*command, "-o", str(part)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            if done.stderr:
                library.with_suffix(".log").write_text(done.stderr)
            part.replace(library)  # in one move: no process sees half a library
            return 0
    print(done.stderr, file=sys.stderr)
    return 1


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGTERM)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])))
