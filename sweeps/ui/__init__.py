"""Servers that show sweeps and studies in a browser."""
