"""`ORIGIN`: where the requests of the present task or thread come from."""

from __future__ import annotations

from contextvars import ContextVar

ORIGIN: ContextVar[str] = ContextVar("ORIGIN", default="")
"""In words, such as "/v1/completions from 127.0.0.1". Empty for calls from Python. A server sets it for each HTTP request."""
