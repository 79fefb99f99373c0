"""Evaluations: accuracy on question files, by few-shot programs, on an engine of this process or on a server."""
