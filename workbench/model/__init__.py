"""A folder or file of a model, read into a module."""
