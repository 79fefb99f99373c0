"""Explains what the engine did: delayed requests, missed prefixes, refused tokens. Enforces nothing, imports neither torch
nor the engine: it reads the event log, the grammar room and the caller's texts.

`request`, `prefix`, `token` and `lint` hold one question each; `constraint.py` is the public `workbench.Grammar`.
"""
