"""The frontend language: structured programs over any backend. Needs no torch and no engine."""
