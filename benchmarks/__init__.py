"""Benchmarks, each run by `python -m benchmarks.NAME`; the last line that one prints is a JSON object."""
