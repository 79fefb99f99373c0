"""`write_log`: sends the records of a process to its standard error."""

from __future__ import annotations

import logging


def write_log(level: str) -> None:
    """Writes the `workbench` loggers' records from this level on to standard error, each with its time."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s"))
    logger = logging.getLogger("workbench")
    logger.addHandler(handler)
    logger.setLevel(level.upper())
