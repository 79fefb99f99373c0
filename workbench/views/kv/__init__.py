"""The kv view."""
