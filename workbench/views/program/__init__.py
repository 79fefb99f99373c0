"""The program view."""
