"""Fused operations for the model and for attention: compiled from `cpu.cpp` where there is a compiler, else torch."""
