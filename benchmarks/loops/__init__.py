"""Whole evaluations, ours beside upstream's on the same problems and the same noise: `python -m benchmarks.loops --help`.

Upstream's code comes from checkouts or installed packages of the user, and nothing of it is kept.
"""
