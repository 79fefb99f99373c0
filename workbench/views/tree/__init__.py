"""The tree view."""
