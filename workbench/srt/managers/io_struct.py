"""`from workbench.srt.managers.io_struct import Function, Tool`."""

from workbench.tool_calls.detectors import Function, Tool

__all__ = ["Function", "Tool"]
