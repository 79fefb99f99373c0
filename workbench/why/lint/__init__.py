"""Findings about a constraint before it is used: refused parts, texts without an end, narrower formats, stop strings, cost."""
