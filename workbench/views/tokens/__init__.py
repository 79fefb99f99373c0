"""The output tokens of one request."""
