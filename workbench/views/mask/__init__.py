"""The mask view."""
