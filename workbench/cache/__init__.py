"""The prefix cache: a radix tree over pages, leases on its paths, eviction policies. Plain ints, no tensors."""
