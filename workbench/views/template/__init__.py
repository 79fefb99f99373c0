"""The template view."""
