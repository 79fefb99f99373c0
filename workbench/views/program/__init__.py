"""A program's text as it is written, with the requests behind it."""
