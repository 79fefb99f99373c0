"""The batch view."""
