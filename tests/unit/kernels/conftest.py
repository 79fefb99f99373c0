"""The instruction sets of this processor, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch

from workbench.kernels import build, compiled, isa
from workbench.kernels.library import Library, load_library

COMPILER = build.find_compiler()


@cache
def library_for(level: isa.InstructionSet) -> Library:
    build.build(COMPILER, level, 0)
    return load_library(build.library_path(COMPILER, level), level.name)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[isa.InstructionSet], None]:
    """A function that lets the library for an instruction set compute."""

    def use(level: isa.InstructionSet) -> None:
        monkeypatch.setattr(compiled.kernels, "is_settled", True)
        monkeypatch.setattr(compiled.kernels, "used", library_for(level))

    return use


@pytest.fixture(params=isa.available() or [None], ids=lambda level: level.name if level else "none")
def level(request: pytest.FixtureRequest, use: Callable[[isa.InstructionSet], None]) -> isa.InstructionSet:
    """The instruction set whose library computes in this test."""
    if COMPILER is None or request.param is None:
        pytest.skip(compiled.status())
    use(request.param)
    torch.manual_seed(0)
    return request.param
