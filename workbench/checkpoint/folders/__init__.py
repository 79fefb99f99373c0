"""Quantised model folders: how each method stores a matrix, and a checkpoint that gives all of them as blocks."""
