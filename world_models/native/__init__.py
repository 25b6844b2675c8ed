"""Kernels in C for the hot loops of planning: compiled once per machine, and replaced by torch where that is not possible."""
