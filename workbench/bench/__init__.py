"""Benchmarks: offline throughput, one static batch, and this engine beside its peers."""
