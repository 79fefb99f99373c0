"""Reads model files: config.json, safetensors and GGUF; gives tensors by name, dense or as their quantised blocks."""
