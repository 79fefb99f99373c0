"""A program: compiles one library, in a process group that ends with the process that started it.

    python compile.py LIBRARY NICENESS '[["c++", ...], ...]' SOURCE ...

It compiles the sources at the same time and links them. It tries the commands in turn until one works, and keeps the compiler's
warnings, if any, beside the library. If several such programs run for one library, one compiles and the others wait. Standard
input is held open by the parent: at its end the group ends, and its lock is released.
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


def main(library: Path, niceness: int, commands: list[list[str]], sources: list[str]) -> int:
    threading.Thread(target=_end_with_input, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(niceness)
    with FileLock(f"{library}.lock"):
        return 0 if library.exists() else _build(library, commands, sources)


def _build(library: Path, commands: list[list[str]], sources: list[str]) -> int:
    objects = {source: library.with_suffix(f".{Path(source).stem}.o") for source in sources}
    part = library.with_suffix(".part")
    for command in commands:
        compiling = [_started([*command, "-c", source, "-o", str(out)]) for source, out in objects.items()]
        said = [process.communicate()[1] for process in compiling]
        is_done = not any(process.returncode for process in compiling)
        if is_done:
            linking = _started([*command, "-shared", *map(str, objects.values()), "-o", str(part)])
            said.append(linking.communicate()[1])
            is_done = linking.returncode == 0
        for out in objects.values():
            out.unlink(missing_ok=True)
        if is_done:
            if any(said):
                library.with_suffix(".log").write_text("".join(said))
            part.replace(library)  # in one move: no process sees half a library
            return 0
    print("".join(said), file=sys.stderr)
    return 1


def _started(command: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=pipe, text=True, errors="replace"
    )


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGTERM)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4:]))
