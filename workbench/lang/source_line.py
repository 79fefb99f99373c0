"""Finds the line of a program that appended a node, and puts it into errors and warnings."""

from __future__ import annotations

import linecache
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

from workbench.errors import WorkbenchError

HERE = str(Path(__file__).parent)
MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of a program."""

    file: str
    line: int

    @property
    def source(self) -> str:
        """Text of the line; empty if the file cannot be read (a notebook's cells can)."""
        text = linecache.getline(self.file, self.line).strip()
        return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."

    def __str__(self) -> str:
        name = "the cell" if "ipykernel" in self.file or self.file.startswith("<") else Path(self.file).name
        source = self.source
        return f"line {self.line} of {name}{f': {source}' if source else ''}"


def caller() -> SourceLine:
    """Returns the innermost line of the stack outside the language's own files."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    return SourceLine("<unknown>", 0) if frame is None else SourceLine(frame.f_code.co_filename, frame.f_lineno)


def warn_at(message: str, category: type[Warning], place: SourceLine) -> None:
    """Warns with the program's line in the place of one in the language's own files."""
    warnings.warn_explicit(message, category, place.file, place.line)


def raised_at(traceback: TracebackType | None) -> SourceLine | None:
    """Returns the innermost line of an error's traceback outside the package; None if there is none."""
    found = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(str(Path(HERE).parent)):
            found = SourceLine(file, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def placed(error: BaseException, program: str, place: SourceLine | None) -> BaseException:
    """Adds the program's line to an error's message, unless it has one, and returns the error."""
    if place is None or getattr(error, "place", None) is not None:
        return error
    error.place = place  # type: ignore[attr-defined]
    where = f"program {program}, {place}"
    if isinstance(error, WorkbenchError):
        error.message = f"{error.message} ({where})"
        error.args = (error.message,)
    elif isinstance(error, Exception):
        error.add_note(f"in {where}")
    return error
