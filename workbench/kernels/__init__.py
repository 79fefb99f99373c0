"""Fused operations for the model and for attention: compiled from `cpu/` where there is a compiler, else torch."""
