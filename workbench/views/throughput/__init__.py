"""The throughput view."""
