"""The mask of a constrained request, along its tokens."""
