"""Writes a model as a GGUF file with quantised or dense weights, that this engine and others read."""
