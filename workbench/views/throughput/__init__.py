"""Throughput and memory over the last seconds."""
