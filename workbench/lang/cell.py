"""Makes a program of a cell's text."""

from __future__ import annotations

import hashlib
import linecache
from typing import Any

from workbench.lang import choices, verbs
from workbench.lang.program import Program, function, run_batch
from workbench.lang.state import ProgramState

WORDS: dict[str, Any] = {
    **{verb.__name__: verb for verb in verbs.VERBS},
    **{method.__name__: method for method in choices.METHODS},
    "function": function,
    "run_batch": run_batch,
}


def cell_program(code: str, names: dict[str, Any]) -> Program:
    """Returns a program whose body is `code`. Its globals are `names`, the verbs of the language and the state `s`.

    After a run `s` and the code's assignments stay in `names`; the verbs that the run added are removed.
    """
    file = f"<program {hashlib.sha256(code.encode('utf-8', 'replace')).hexdigest()[:8]}>"
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)  # for the source lines in errors
    body = compile(code, file, "exec")

    def cell(s: ProgramState) -> None:
        added = {name: word for name, word in WORDS.items() if name not in names}
        names.update(added, s=s)
        try:
            exec(body, names)
        finally:
            for name, word in added.items():
                if names.get(name) is word:
                    del names[name]

    return Program(cell)
