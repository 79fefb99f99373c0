"""The engine as a Python object."""
