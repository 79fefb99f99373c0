"""The dashboard: all views of one engine on one page."""
