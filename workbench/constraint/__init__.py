"""A constraint to ask before, beside and after generating: why a token was refused, whether a text fits, what may go wrong."""
