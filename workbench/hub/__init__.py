"""Finds or fetches a model by its name: a folder or file on this machine. No torch."""
