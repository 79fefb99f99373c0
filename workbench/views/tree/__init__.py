"""The radix tree."""
