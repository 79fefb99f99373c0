"""Explains what the engine did: refused tokens, missed prefixes, delayed requests. Enforces nothing."""
