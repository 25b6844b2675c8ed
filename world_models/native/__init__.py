"""Kernels in C for what planning repeats most; compiled once a machine, and done without where that cannot be."""
