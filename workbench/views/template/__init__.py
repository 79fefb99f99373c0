"""A conversation as the model reads it."""
