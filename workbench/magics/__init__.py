"""The magics of notebooks: `%load_ext workbench`. `session` offers the same from Python."""

from __future__ import annotations

from typing import Any

from workbench.magics.session import Session, session

__all__ = ["Session", "load_ipython_extension", "session", "unload_ipython_extension"]


def load_ipython_extension(shell: Any) -> None:
    """Registers the magics and their completion. A second call changes nothing. Imports no torch."""
    from workbench.magics.completer import Candidates, matcher
    from workbench.magics.magics import CHAT, GEN, PROGRAM, WB, WorkbenchMagics

    if WorkbenchMagics.__name__ in shell.magics_manager.registry:
        return
    shell.register_magics(WorkbenchMagics(shell, session))
    shell.Completer.custom_matchers.append(
        matcher(Candidates(session, WB, {"wb_gen": GEN, "wb_chat": CHAT, "wb_program": PROGRAM}))
    )


def unload_ipython_extension(shell: Any) -> None:
    """Removes the magics and their completion, and stops the engines."""
    magics = shell.magics_manager.registry.pop("WorkbenchMagics", None)
    if magics is None:
        return
    shell.configurables.remove(magics)
    for kind, name in (("line", "wb"), ("cell", "wb_gen"), ("cell", "wb_chat"), ("cell", "wb_program")):
        shell.magics_manager.magics[kind].pop(name, None)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [m for m in matchers if getattr(m, "__name__", "") != "workbench_matcher"]
    session.close()
