"""This engine without jump-forward: every token of a record is a decode step."""

from __future__ import annotations

from typing import Any

from protocol import Do, Generate, serve
from run_workbench import load as load_workbench


def load(settings: dict[str, Any]) -> tuple[str, Generate, Do]:
    version, generate, do = load_workbench({**settings, "disable_jump_forward": True})
    return f"{version}, jump-forward off", generate, do


if __name__ == "__main__":
    serve(load)
