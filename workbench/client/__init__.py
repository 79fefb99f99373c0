"""The way to a running engine: requests in, streams of outputs back, and typed calls, wherever the engine runs."""
