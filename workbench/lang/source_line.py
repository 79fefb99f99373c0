"""Lines of a program: where something was appended, and errors that say so."""

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
class Place:
    file: str
    line: int

    @property
    def source(self) -> str:
        """The line's text, where the file can be read (a notebook's cells can)."""
        text = linecache.getline(self.file, self.line).strip()
        return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."

    def __str__(self) -> str:
        name = "the cell" if "ipykernel" in self.file or self.file.startswith("<") else Path(self.file).name
        source = self.source
        return f"line {self.line} of {name}{f': {source}' if source else ''}"


def caller() -> Place:
    """The nearest line outside the language's own files."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    return Place("<unknown>", 0) if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)


def warn_at(message: str, category: type[Warning], place: Place) -> None:
    """A warning that shows the program's line, not one of ours."""
    warnings.warn_explicit(message, category, place.file, place.line)


def raised_at(traceback: TracebackType | None) -> Place | None:
    """The innermost line outside the language's own files that the error passed; None if it passed none."""
    found = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(str(Path(HERE).parent)):
            found = Place(file, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def placed(error: BaseException, program: str, place: Place | None) -> BaseException:
    """The same error, its message ending with the program's line; an error that names one already stays as it is."""
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
