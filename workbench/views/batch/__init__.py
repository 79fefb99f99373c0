"""The batch timeline: steps, and the life of each request."""
