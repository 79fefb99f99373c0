"""The tokens view."""
